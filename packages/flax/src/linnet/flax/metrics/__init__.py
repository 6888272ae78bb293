"""The modules of `flax.metrics`: Linnet has none of them."""
