"""Tests of several processes that compute together: `nox -s processes`."""
