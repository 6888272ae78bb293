"""`PrefetchIterator`: fetches the next elements in a thread while the program works.

The thread puts elements into a queue of limited size. At the end of the data, or after an error, it
puts a final entry there, so that the program sees the end or the error only after all earlier
elements. New programs should use the loader of their data set.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from ..errors import ArgumentError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class _Element(Generic[T]):
    value: T


@dataclasses.dataclass(frozen=True)
class _End:
    error: BaseException


__all__ = ["PrefetchIterator"]


class PrefetchIterator(Generic[T]):
    """Iterates over `data_iter`, some elements ahead.

    Args:
      data_iter: an iterator, or anything that can be iterated over.
      buffer_size: how many elements to fetch in advance.

    >>> list(PrefetchIterator(range(3), buffer_size=2))
    [0, 1, 2]
    """

    def __init__(self, data_iter: Iterable[T], buffer_size: int = 1) -> None:
        if buffer_size < 1:
            raise ArgumentError(
                f"PrefetchIterator: buffer_size is {buffer_size}, expected 1 or more."
            )
        self._queue: queue.Queue[_Element[T] | _End] = queue.Queue(buffer_size)
        self._closed = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(target=self._fetch, args=(iter(data_iter),), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._end is None:
            element = self._queue.get()
            if not isinstance(element, _End):
                return element.value
            self._end = element.error
        raise self._end

    def close(self) -> None:
        """Stops fetching; there are no more elements."""
        self._closed.set()
        self._end = StopIteration()
        while self._thread.is_alive():  # it may be waiting for a free slot
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _fetch(self, elements: Iterator[T]) -> None:
        while not self._closed.is_set():
            try:
                item = _Element(next(elements))
            except Exception as end:  # raised when the program asks for the next element
                self._queue.put(_End(end))
                return
            self._queue.put(item)
