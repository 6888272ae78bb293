"""Linear, convolution, embedding and pooling layers."""

from linnet.layers_linear.functional import canonicalize_padding as canonicalize_padding
from linnet.layers_linear.nnx import Conv as Conv
from linnet.layers_linear.nnx import ConvTranspose as ConvTranspose
from linnet.layers_linear.nnx import Einsum as Einsum
from linnet.layers_linear.nnx import Embed as Embed
from linnet.layers_linear.nnx import Linear as Linear
from linnet.layers_linear.nnx import LinearGeneral as LinearGeneral
from linnet.layers_linear.nnx import avg_pool as avg_pool
from linnet.layers_linear.nnx import default_embed_init as default_embed_init
from linnet.layers_linear.nnx import default_kernel_init as default_kernel_init
from linnet.layers_linear.nnx import max_pool as max_pool
from linnet.layers_linear.nnx import min_pool as min_pool
from linnet.layers_linear.nnx import pool as pool
