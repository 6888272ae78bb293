"""The names of `flax.training.checkpoints`."""

from jax import process_index as process_index

from linnet.module_core.config import config as config
from linnet.module_core.training.checkpoints import *  # noqa: F403

ORBAX_CKPT_FILENAME = "checkpoint"
ORBAX_METADATA_FILENAME = "_METADATA"
ORBAX_MANIFEST_OCDBT = "manifest.ocdbt"
COMMIT_SUCCESS_FILE = "commit_success.txt"
MP_ARRAY_POSTFIX = "_gda"
MP_ARRAY_PH = "//GDAPlaceholder:"
