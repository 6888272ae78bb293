"""The names of `flax.configurations`: the switches that Linnet has."""

from linnet.module_core.config import Config as Config
from linnet.module_core.config import config as config
from linnet.module_core.config import temp_flip_flag as temp_flip_flag
