"""Settings of this package's tests."""

from fixtures import quick_compilation as quick_compilation
