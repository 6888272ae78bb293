"""Objects whose attributes are a tree."""

from linnet.module_core.nnx import Data as Data
from linnet.module_core.nnx import Object as Object
from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import Static as Static
from linnet.module_core.nnx import Variable as Variable
from linnet.module_core.nnx import check_pytree as check_pytree
from linnet.module_core.nnx import data as data
from linnet.module_core.nnx import dataclass as dataclass
from linnet.module_core.nnx import has_data as has_data
from linnet.module_core.nnx import is_data as is_data
from linnet.module_core.nnx import register_data_type as register_data_type
from linnet.module_core.nnx import static as static
