"""The records that `SummaryWriter` writes, read back from its files."""

import io
import struct
import sys
import wave
import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from hints import Remedy, try_remedy
from linnet.module_core.errors import (
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    MissingExtraError,
    ShapeError,
)
from linnet.module_core.training.tensorboard import SummaryWriter

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
summary_pb2 = pytest.importorskip("tensorboardX.proto.summary_pb2")


def events(folder):
    """The values in the records of a folder's file, with their steps."""
    (path,) = folder.iterdir()
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for value in event.summary.value:
            yield event.step, value


def written(tmp_path, write):
    writer = SummaryWriter(tmp_path / "log")
    write(writer)
    found = list(events(tmp_path / "log"))  # before it is closed
    writer.close()
    writer.close()
    writer.scalar("late", 1, 1)
    return found


def test_scalars(tmp_path):
    def write(writer):
        writer.scalar("loss", jnp.float32(0.5), 3)
        writer.scalar("loss", np.ones((1, 1)), np.int64(4))

    found = written(tmp_path, write)
    assert [(step, v.tag, v.simple_value) for step, v in found] == [
        (3, "loss", 0.5),
        (4, "loss", 1),
    ]


def test_tensors_for_plugins(tmp_path):
    metadata = summary_pb2.SummaryMetadata(display_name="a name")
    values = [jnp.arange(6.0).reshape(2, 3), np.float64(2), 3, "text", jnp.ones(2, jnp.bfloat16)]

    def write(writer):
        for value in values:
            writer.write("x", value, 7, metadata=metadata)
        with pytest.raises(DtypeError, match="write 'x': an array of dtype object"):
            writer.write("x", object(), 8)
        with pytest.raises(ArgumentTypeError, match="'metadata' is 'm' of type str"):
            writer.write("x", 1.0, 8, "m")

    found = written(tmp_path, write)
    assert [step for step, _ in found] == [7] * len(values)
    assert {v.metadata.display_name for _, v in found} == {"a name"}
    tensors = [v.tensor for _, v in found]
    assert [t.dtype for t in tensors] == [1, 2, 3, 7, 14]  # float, double, int32, string, bfloat16
    assert [d.size for d in tensors[0].tensor_shape.dim] == [2, 3]
    assert np.frombuffer(tensors[0].tensor_content, np.float32).tolist() == list(range(6))
    assert list(tensors[3].string_val) == [b"text"]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (6, 4, 5, 4), (2, 4, 5, 1)])
def test_images(tmp_path, shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    found = written(tmp_path, lambda writer: writer.image("x", image, 1))
    batch = image.reshape((-1, 4, 5, 1 if image.ndim == 2 else shape[-1]))
    assert len(found) == min(3, len(batch))
    for (_, value), picture in zip(found, batch, strict=False):
        assert (value.image.height, value.image.width) == (4, 5)
        assert value.image.colorspace == picture.shape[-1]
        np.testing.assert_allclose(decoded(value.image.encoded_image_string), picture, atol=1 / 255)


def decoded(png):
    """The pixels of a PNG without filters, as numbers from 0 to 1."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, rest = {}, png[8:]
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        kind, data = rest[4:8], rest[8 : 8 + length]
        assert rest[8 + length : 12 + length] == struct.pack(">I", zlib.crc32(kind + data))
        chunks[kind], rest = data, rest[12 + length :]
    width, height, depth, color = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    channels = {0: 1, 2: 3, 6: 4}[color]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert depth == 8
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels) / 255


def test_audio(tmp_path):
    sound = np.sin(np.arange(200)).astype(np.float32)
    (_, value), *rest = written(tmp_path, lambda writer: writer.audio("x", sound, 1, 8000))
    assert not rest
    with wave.open(io.BytesIO(value.audio.encoded_audio_string)) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 1)
        samples = np.frombuffer(file.readframes(200), "<i2") / 32767
    np.testing.assert_allclose(samples, sound, atol=1e-4)
    stereo = np.zeros((5, 10, 2))
    writer = SummaryWriter(tmp_path / "more")
    writer.audio("x", stereo, 1, max_outputs=2)
    writer.close()
    assert [v.audio.num_channels for _, v in events(tmp_path / "more")] == [2, 2]


def test_histograms_texts_and_hyperparameters(tmp_path):
    def write(writer):
        writer.histogram("h", jnp.arange(10.0), 2)
        writer.histogram("h", jnp.arange(10.0), 2, bins=5)
        writer.text("t", "**hello**", 3)
        writer.hparams({"rate": 0.1, "adam": {"b1": 0.9}, "sizes": (3, 4), "flag": True})

    first, second, text, *hparams = (v for _, v in written(tmp_path, write))
    assert (first.histo.num, first.histo.sum, first.histo.max) == (10, 45, 9)
    assert len(second.histo.bucket) <= 7
    assert text.tensor.string_val[0] == b"**hello**"
    content = b"".join(v.metadata.plugin_data.content for v in hparams)
    for name in (b"rate", b"adam.b1", b"sizes", b"(3, 4)", b"flag"):
        assert name in content


def test_without_auto_flush_the_file_is_written_at_the_end(tmp_path):
    writer = SummaryWriter(tmp_path, auto_flush=False)
    writer.scalar("loss", 1.0, 1)
    writer.flush()
    assert len(list(events(tmp_path))) == 1
    writer.close()


MISTAKES = [
    (lambda w: w.scalar("x", np.ones(2), 0), ShapeError, "takes one number"),
    (lambda w: w.image("x", np.ones((2, 3, 5)), 0), ShapeError, r"shape \(2, 3, 5\)"),
    (lambda w: w.audio("x", np.ones((1, 1, 1, 1)), 0), ShapeError, r"\[N, T, C\]"),
    (lambda w: w.histogram("x", [], 0), ArgumentError, "has no values"),
]


@pytest.mark.parametrize(("mistake", "error", "words"), MISTAKES)
def test_mistakes(tmp_path, mistake, error, words):
    writer = SummaryWriter(tmp_path)
    with pytest.raises(error, match=words):
        mistake(writer)
    writer.close()


def test_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"linnet-module-core\[tensorboard\]"):
        SummaryWriter(tmp_path)


def with_writer(folder, write):
    writer = SummaryWriter(folder)
    try:
        write(writer)
    finally:
        writer.close()


def test_hints_work(tmp_path):
    x = jnp.ones(3)
    try_remedy(
        Remedy(
            "Reduce it first, e.g. with jnp.mean, or use `histogram`.",
            lambda: with_writer(tmp_path, lambda w: w.scalar("x", x, 0)),
            lambda: with_writer(
                tmp_path, lambda w: (w.scalar("x", jnp.mean(x), 0), w.histogram("x", x, 0))
            ),
        )
    )
    try_remedy(
        Remedy(
            "Channels come last.",
            lambda: with_writer(tmp_path, lambda w: w.image("x", jnp.ones((3, 4, 5)), 0)),
            lambda: with_writer(tmp_path, lambda w: w.image("x", jnp.ones((4, 5, 3)), 0)),
        )
    )
    try_remedy(
        Remedy(
            "Samples come before channels.",
            lambda: with_writer(tmp_path, lambda w: w.audio("x", jnp.ones((1, 1, 1, 1)), 0)),
            lambda: with_writer(tmp_path, lambda w: w.audio("x", jnp.ones((9, 2)), 0)),
        )
    )
