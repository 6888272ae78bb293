"""`SummaryWriter`: numbers, images, audio, text and histograms for TensorBoard.

The files' records are those of tensorboardX, which needs no TensorFlow; they are written
immediately, in the calling thread. Images are encoded as PNG (https://www.w3.org/TR/png/) and audio
as WAV here, so that no further library is needed.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import time
import wave
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from ..errors import (
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    MissingExtraError,
    ShapeError,
    describe,
)

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """Writes summaries into a folder that TensorBoard shows; one process writes.

    Args:
      log_dir: the folder; it is made if it doesn't exist.
      auto_flush: whether each summary is on disk when the call returns.

    Raises:
      MissingExtraError: tensorboardX is not installed.

    >>> import tempfile
    >>> writer = SummaryWriter(tempfile.mkdtemp())
    >>> for step in range(3):
    ...     writer.scalar("loss", 1 / (1 + step), step)
    >>> writer.close()
    """

    def __init__(self, log_dir: str | os.PathLike[str], auto_flush: bool = True) -> None:
        try:
            from tensorboardX import record_writer, summary
            from tensorboardX.proto import event_pb2, summary_pb2
        except ImportError:
            raise MissingExtraError(
                "SummaryWriter needs tensorboardX, which is not installed.",
                hint='python -m pip install "linnet-module-core[tensorboard]"',
            ) from None
        self._protocol: Any = summary_pb2
        self._summaries: Any = summary
        self._event: Any = event_pb2.Event
        self._auto_flush = auto_flush
        self._writer: Any = None
        if jax.process_index() == 0:
            folder = Path(log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
            self._writer = record_writer.RecordWriter(str(folder / name))
            self._write(file_version="brain.Event:2")

    def close(self) -> None:
        """Writes what is left, and closes the file. The writer can't be used afterwards."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def flush(self) -> None:
        """Writes what is left."""
        if self._writer is not None:
            self._writer.flush()

    def scalar(self, tag: str, value: ArrayLike, step: int) -> None:
        """Writes a number.

        Args:
          tag: the name of its curve.
          value: a number, or an array with one.
          step: the training step.

        Raises:
          ShapeError: `value` is several numbers.
        """
        array = np.asarray(value)
        if array.size != 1:
            raise ShapeError(
                f"scalar {tag!r} takes one number, got an array of shape {array.shape}.",
                hint="Reduce it first, e.g. with jnp.mean, or use `histogram`.",
            )
        self._value(step, tag=tag, simple_value=float(array.reshape(())))

    def image(self, tag: str, image: ArrayLike, step: int, max_outputs: int = 3) -> None:
        """Writes images.

        Args:
          tag: their name.
          image: [H, W], [H, W, C] or [N, H, W, C] with 1, 3 or 4 channels; uint8, or numbers from 0
            to 1.
          step: the training step.
          max_outputs: how many of the N to write.

        Raises:
          ShapeError: the array has a different shape.
        """
        pixels = np.asarray(image)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if pixels.ndim == 3:
            pixels = pixels[None]
        if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3, 4):
            raise ShapeError(
                f"image {tag!r} takes [H, W], [H, W, C] or [N, H, W, C] with 1, 3 or 4 channels,"
                f" got an array of shape {np.shape(image)}.",
                hint="Channels come last.",
            )
        if pixels.dtype != np.uint8:
            pixels = (np.clip(np.asarray(pixels, np.float32), 0, 1) * 255 + 0.5).astype(np.uint8)
        for number, picture in enumerate(pixels[:max_outputs]):
            height, width, channels = picture.shape
            encoded = self._protocol.Summary.Image(
                height=height,
                width=width,
                colorspace=channels,
                encoded_image_string=_png(picture),
            )
            self._value(step, tag=f"{tag}/image/{number}", image=encoded)

    def audio(
        self,
        tag: str,
        audiodata: ArrayLike,
        step: int,
        sample_rate: int = 44100,
        max_outputs: int = 3,
    ) -> None:
        """Writes audio clips.

        Args:
          tag: their name.
          audiodata: [T], [T, C] or [N, T, C]: samples from -1 to 1 of C channels.
          step: the training step.
          sample_rate: in Hz.
          max_outputs: how many of the N to write.

        Raises:
          ShapeError: the array has a different shape.
        """
        samples = np.asarray(audiodata, np.float32)
        if samples.ndim == 1:
            samples = samples[:, None]
        if samples.ndim == 2:
            samples = samples[None]
        if samples.ndim != 3:
            raise ShapeError(
                f"audio {tag!r} takes [T], [T, C] or [N, T, C], got an array of shape"
                f" {samples.shape}.",
                hint="Samples come before channels.",
            )
        for number, sound in enumerate(samples[:max_outputs]):
            encoded = self._protocol.Summary.Audio(
                sample_rate=sample_rate,
                num_channels=sound.shape[1],
                length_frames=sound.shape[0],
                encoded_audio_string=_wav(sound, sample_rate),
                content_type="audio/wav",
            )
            self._value(step, tag=f"{tag}/audio/{number}", audio=encoded)

    def histogram(self, tag: str, values: ArrayLike, step: int, bins: int | None = None) -> None:
        """Writes how numbers are distributed.

        Args:
          tag: the name.
          values: an array of any shape.
          step: the training step.
          bins: how many; None for NumPy's choice.

        Raises:
          ArgumentError: there are no values.
        """
        array = np.asarray(values, np.float64).ravel()
        if not array.size:
            raise ArgumentError(f"histogram {tag!r} has no values.")
        edges = np.histogram_bin_edges(array, "auto" if bins is None else bins)
        self._add(self._summaries.histogram(tag, array, edges), step)

    def text(self, tag: str, textdata: str, step: int) -> None:
        """Writes a text, which is shown as Markdown.

        Args:
          tag: the name.
          textdata: the text.
          step: the training step.
        """
        self._add(self._summaries.text(tag, textdata), step)

    def write(self, tag: str, tensor: object, step: int, metadata: Any = None) -> None:
        """Writes an array, or a string, for a plugin of TensorBoard.

        Args:
          tag: the name.
          tensor: an array of any shape, a number, or a string or bytes.
          step: the training step.
          metadata: the `SummaryMetadata` message of the plugin, from TensorBoard or TensorFlow.

        Raises:
          DtypeError: the format has no such dtype.
          ArgumentTypeError: `metadata` is not a protocol buffer.
        """
        if metadata is not None and not hasattr(metadata, "SerializeToString"):
            raise ArgumentTypeError(
                f"write {tag!r}: 'metadata' is {describe(metadata)}.",
                hint="Pass a SummaryMetadata message, or None.",
            )
        encoded = {"tensor": self._tensor(tag, tensor)}
        if metadata is not None:
            message = self._protocol.SummaryMetadata
            encoded["metadata"] = message.FromString(metadata.SerializeToString())
        self._value(step, tag=tag, **encoded)

    def _tensor(self, tag: str, tensor: object) -> object:
        from tensorboardX.proto import tensor_pb2, tensor_shape_pb2, types_pb2

        if isinstance(tensor, (str, bytes)):
            text = tensor.encode() if isinstance(tensor, str) else tensor
            return tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[text])
        array = np.asarray(tensor)
        if not hasattr(tensor, "dtype"):  # Python's numbers have 32 bits there
            array = array.astype(
                {"f": np.float32, "i": np.int32}.get(array.dtype.kind, array.dtype)
            )
        name = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}.get(str(array.dtype))
        kind = getattr(types_pb2, f"DT_{name or str(array.dtype).upper()}", None)
        if kind is None:
            raise DtypeError(f"write {tag!r}: an array of dtype {array.dtype} can't be written.")
        sizes = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
        return tensor_pb2.TensorProto(
            dtype=kind,
            tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=sizes),
            tensor_content=array.tobytes(),
        )

    def hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the hyperparameters of the run.

        Args:
          hparams: numbers, truth values and strings by name; others as their `str`, and nested
            mappings under names such as "optimizer.rate".
        """
        for summary in self._summaries.hparams(_flat(hparams), {}):
            self._add(summary, 0)

    def _value(self, step: int, **fields: Any) -> None:
        summary = self._protocol.Summary
        self._add(summary(value=[summary.Value(**fields)]), step)

    def _add(self, summary: Any, step: int) -> None:
        self._write(step=int(step), summary=summary)

    def _write(self, **fields: Any) -> None:
        if self._writer is None:
            return
        event = self._event(wall_time=time.time(), **fields)
        self._writer.write(event.SerializeToString())
        if self._auto_flush:
            self._writer.flush()


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, bool | int | float | str]:
    flat: dict[str, bool | int | float | str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            known = isinstance(value, (bool, int, float, str))
            flat[f"{before}{name}"] = value if known else str(value)
    return flat


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    color = {1: 0, 3: 2, 4: 6}[channels]  # gray, RGB, RGB and alpha
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _wav(samples: np.ndarray[Any, np.dtype[np.float32]], sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
