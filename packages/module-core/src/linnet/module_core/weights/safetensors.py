"""The safetensors format: names, dtypes and shapes in a header, then the bytes of the tensors.

    8 bytes: n, little-endian | n bytes of JSON | data

    {"layer.weight": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}, "__metadata__": {}}

(https://huggingface.co/docs/safetensors.) Nothing in such a file is executed. The header is checked
as a whole before anything is read: every byte of the data must belong to one tensor, so a file that
is truncated or in another format is recognized by its first bytes and its size. After this check, a
tensor is a range of bytes, which is read on request; no other library is needed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, counted
from ..layers.torch_layout import Numbers
from .arrays import aligned

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
    "F8_E8M0": np.dtype(jnp.float8_e8m0fnu),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LARGEST_HEADER = 100_000_000
_ZIP = b"PK\x03\x04"
_WASTED = 16_384  # reading this many unneeded bytes takes as long as a seek
_BAND = 1_048_576  # bytes that are read together if only a part of them is wanted


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file. `numpy.asarray` reads it.

    Attributes:
      file: the file.
      dtype: the dtype.
      shape: the shape.
      offset: the position of its first byte in the file.
    """

    file: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Numbers:
        array = self.part(tuple(slice(0, n) for n in self.shape))
        return array if dtype is None else array.astype(dtype, copy=False)

    def part(self, index: tuple[slice, ...]) -> Numbers:
        """The elements from `start` to `stop` of each axis, without reading the whole tensor.

        Raises:
          ArgumentError: the file has changed.
        """
        array = aligned(tuple(s.stop - s.start for s in index), self.dtype)
        if array.size:
            with self.file.open("rb", buffering=0) as file:
                self._read(file, array, self.offset, self.shape, index)
        return array

    def _read(
        self,
        file: FileIO,
        into: Numbers,
        offset: int,
        shape: tuple[int, ...],
        index: tuple[slice, ...],
    ) -> None:
        """Reads a part of the array that has that shape and begins at that byte."""
        if not shape:
            self._read_bytes(file, into, offset)
            return
        row = math.prod(shape[1:]) * self.dtype.itemsize
        first, last = index[0].start, index[0].stop
        wanted = into.nbytes // (last - first)
        if wanted == row:
            self._read_bytes(file, into, offset + first * row)
        elif row - wanted > _WASTED:
            for i in range(first, last):
                self._read(file, into[i - first], offset + i * row, shape[1:], index[1:])
        else:
            step = max(1, _BAND // row)
            band = np.empty((min(step, last - first), *shape[1:]), self.dtype)
            for i in range(first, last, step):
                rows = min(step, last - i)
                self._read_bytes(file, band[:rows], offset + i * row)
                into[i - first : i - first + rows] = band[(slice(rows), *index[1:])]

    def _read_bytes(self, file: FileIO, into: Numbers, offset: int) -> None:
        # A view as bytes: NumPy's buffers don't support dtypes such as bfloat16.
        view = into.reshape(-1).view(np.uint8).data
        file.seek(offset)
        while view:  # one system call reads at most 2 GiB
            got = file.readinto(view)
            if not got:
                raise ArgumentError(f"{self.file} ended while it was read; did it change?")
            view = view[got:]


class Tensors(Mapping[str, Tensor]):
    """The tensors of one or several files, by name, read on request.

    Attributes:
      metadata: the file's own metadata, strings by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        self._tensors = dict(tensors)
        self.metadata = dict(metadata)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Tensors({counted(len(self), 'tensor')})"


def opened(path: Path) -> Tensors:
    """The tensors of a file, of the shards of an index, or of a folder with one of these.

    Raises:
      ArgumentError: there is no such file, it is not in this format, it is truncated, or a shard is
        missing.
    """
    if path.is_dir():
        for name in ("model.safetensors", "model.safetensors.index.json"):
            if (path / name).is_file():
                return opened(path / name)
        found = sorted(path.glob("*.safetensors"))
        if len(found) == 1:
            return opened(found[0])
        raise ArgumentError(
            f"{path} has no model.safetensors and no model.safetensors.index.json.",
            hint="Pass the path of the file." if found else None,
        )
    if not path.is_file():
        raise ArgumentError(f"There is no file {path}.")
    if path.suffix == ".json":
        return _of_index(path)
    return _of_file(path)


def _of_index(path: Path) -> Tensors:
    index = _parsed(path.read_bytes(), path)
    files = index.get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(f, str) for f in files.values()):
        raise ArgumentError(f"{path} has no weight_map of names to files.")
    shards: dict[str, Tensors] = {}
    for name in sorted(set(files.values())):
        if Path(name).name != name or name in (".", ".."):
            raise ArgumentError(f"{path} names the file {name!r}, expected one in its own folder.")
        shard = path.parent / name
        if not shard.is_file():
            raise ArgumentError(f"The shard {shard} is missing; {path.name} names it.")
        shards[name] = _of_file(shard)
    tensors: dict[str, Tensor] = {}
    for name, tensor_file in files.items():
        if name not in shards[tensor_file]:
            raise ArgumentError(f"{path} has {name!r} in {tensor_file}, which doesn't have it.")
        tensors[name] = shards[tensor_file][name]
    for shard_name, shard_tensors in shards.items():
        for name in shard_tensors:
            if files.get(name) != shard_name:
                where = f"in {files[name]}" if name in files else "nowhere"
                raise ArgumentError(
                    f"{path.parent / shard_name} has the tensor {name!r}, and {path.name} has it"
                    f" {where}."
                )
    metadata = {k: v for shard in shards.values() for k, v in shard.metadata.items()}
    return Tensors(tensors, metadata)


def _of_file(path: Path) -> Tensors:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start[:4] == _ZIP:
            raise ArgumentError(
                f"{path} is a zip archive, not a safetensors file.",
                hint="torch.save writes such archives. Load it with torch.load(path,"
                " weights_only=True), and pass the state dict to from_torch.",
            )
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise ArgumentError(
                f"{path} is not a safetensors file or is cut off: it has {counted(size, 'byte')},"
                f" and its header would have {length}."
            )
        if length > _LARGEST_HEADER:
            raise ArgumentError(
                f"{path} has a header of {counted(length, 'byte')}, expected at most"
                f" {_LARGEST_HEADER}."
            )
        header = _parsed(file.read(length), path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ArgumentError(f"{path} has a __metadata__ that isn't a mapping of strings.")
    tensors: dict[str, Tensor] = {}
    ends: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(name, entry, path)
        tensors[name] = Tensor(path, dtype, shape, 8 + length + begin)
        ends.append((begin, end, name))
    last = 0
    for begin, end, name in sorted(ends):
        if begin != last:
            raise ArgumentError(
                f"{path}: the tensor {name!r} begins at byte {begin} of the data, expected {last}."
            )
        last = end
    if last != size - 8 - length:
        what = "cut off" if last > size - 8 - length else "longer than its tensors"
        raise ArgumentError(
            f"{path} is {what}: its tensors have"
            f" {counted(last, 'byte')}, and the file has {size - 8 - length} for them."
        )
    return Tensors(tensors, metadata)


def _entry(name: str, entry: object, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    where = f"{path}: the tensor {name!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ArgumentError(f"{where} must have dtype, shape and data_offsets, got {entry!r:.80}.")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise ArgumentError(
            f"{where} has the dtype {entry['dtype']!r}, expected one of {', '.join(DTYPES)}."
        )
    dtype, shape, offsets = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise ArgumentError(
            f"{where} has the shape {shape!r:.80} and the data_offsets {offsets!r:.80}, expected"
            " lists of integers of at least 0."
        )
    begin, end = offsets
    bytes_needed = math.prod(shape) * dtype.itemsize
    if end - begin != bytes_needed:
        raise ArgumentError(
            f"{where} has {counted(end - begin, 'byte')}; its shape {tuple(shape)} of {dtype}"
            f" needs {bytes_needed}."
        )
    return dtype, tuple(shape), begin, end


def _naturals(values: object) -> bool:
    return isinstance(values, list) and all(type(n) is int and n >= 0 for n in values)


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ArgumentError(f"{path} has the name {name!r} twice.")
            found[name] = value
        return found

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ArgumentError(
            f"{path} is not a safetensors file: its header isn't JSON."
            if path.suffix != ".json"
            else f"{path} isn't JSON."
        ) from None
    if not isinstance(header, dict):
        raise ArgumentError(f"{path} has a header that isn't a mapping.")
    return header


def write(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Writes a file; it appears under its name once it is complete.

    The tensors, which have `shape` and `dtype`, are converted to NumPy arrays one at a time.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    order = sorted(tensors, key=lambda name: (-np.dtype(tensors[name].dtype).itemsize, name))
    offset = 0
    for name in order:
        dtype = np.dtype(tensors[name].dtype)
        end = offset + math.prod(tensors[name].shape) * dtype.itemsize
        header[name] = {
            "dtype": name_of(dtype, name),
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(len(text).to_bytes(8, "little"))
            file.write(text)
            for name in order:
                array = np.ascontiguousarray(tensors[name])
                file.write(array.reshape(-1).view(np.uint8).data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def name_of(dtype: np.dtype[Any], name: str) -> str:
    """The format's name of a dtype.

    Raises:
      ArgumentError: the format doesn't support the dtype.
    """
    if dtype not in _NAMES:
        raise ArgumentError(
            f"{name!r} has dtype {dtype}, which safetensors files can't hold.",
            hint=f"Cast it to one that they hold: {', '.join(str(d) for d in _NAMES)}.",
        )
    return _NAMES[dtype]
