"""Sets Keras's backend and the folder of its settings before anything imports Keras."""

import os
import tempfile

os.environ["KERAS_BACKEND"] = "jax"
# Keras writes a file there when it is imported, so it must not be the user's home folder.
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="linnet-keras-"))
