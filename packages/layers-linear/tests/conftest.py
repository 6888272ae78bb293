"""Settings of this package's tests."""

import jax

# Most of the time goes into compiling programs that run once, on a few numbers.
jax.config.update("jax_disable_most_optimizations", True)
