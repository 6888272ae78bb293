"""An older name for `flax.ids`."""

from linnet.flax.ids import FlaxId as FlaxId
from linnet.flax.ids import UUIDManager as UUIDManager
from linnet.flax.ids import uuid as uuid
