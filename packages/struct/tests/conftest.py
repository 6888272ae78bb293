"""Settings of the tests of linnet-struct."""

from hypothesis import settings

# No deadline: the first example compiles. Derandomized: a failure is the same on every machine.
settings.register_profile("linnet", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("linnet")
