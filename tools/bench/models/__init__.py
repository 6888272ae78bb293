"""The models that are measured: one module each, with Linnet's, Flax's and a hand-written form."""
