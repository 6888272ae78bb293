"""Keras is told which backend it has before anything imports it, and where its settings are."""

import os
import tempfile

os.environ["KERAS_BACKEND"] = "jax"
# It writes a file there when it is imported; not into the home of whoever runs the tests.
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="linnet-keras-"))
