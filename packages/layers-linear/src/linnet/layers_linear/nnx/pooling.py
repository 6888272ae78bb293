"""Pooling with the functions in `functional`: it has no parameters or state."""

from linnet.layers_linear.functional.pooling import avg_pool as avg_pool
from linnet.layers_linear.functional.pooling import max_pool as max_pool
from linnet.layers_linear.functional.pooling import min_pool as min_pool
from linnet.layers_linear.functional.pooling import pool as pool
