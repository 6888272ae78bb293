"""Settings of this package's tests."""

from fixtures import quick_compilation as quick_compilation
from fixtures import same_draws as same_draws

collect_ignore = ["typed"]  # for type checkers; some of it cannot be run
