"""Settings of this package's tests."""

import pytest

from fixtures import quick_compilation as quick_compilation
from fixtures import same_draws as same_draws
from fixtures import x64 as x64

pytest.register_assert_rewrite("contracts", "nnx_contracts")
