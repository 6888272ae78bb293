"""Linnet's switches: `from linnet.config import config`; see `linnet.module_core.config`."""

from linnet.module_core.config import Config as Config
from linnet.module_core.config import FlagHolder as FlagHolder
from linnet.module_core.config import bool_flag as bool_flag
from linnet.module_core.config import config as config
from linnet.module_core.config import int_flag as int_flag
from linnet.module_core.config import static_bool_env as static_bool_env
from linnet.module_core.config import static_int_env as static_int_env

temp_flip_flag = config.temp_flip_flag
update = config.update
