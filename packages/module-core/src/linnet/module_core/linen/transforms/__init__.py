"""Lifted transforms: jax's transforms for modules. The mechanism is in `lifting`."""
