"""The measured models: one module each, with Linnet's, Flax's and a hand-written form."""
