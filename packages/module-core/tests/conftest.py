"""Settings for all tests of this package."""

from hypothesis import settings

from fixtures import only_new_garbage as only_new_garbage
from fixtures import quick_compilation as quick_compilation
from fixtures import same_draws as same_draws

# How long an example takes says something about the machine, not about the library.
settings.register_profile("linnet", deadline=None)
settings.load_profile("linnet")
