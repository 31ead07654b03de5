"""What every source of images hands over: an `ImageSet`, a lazy sequence of scans (`Scan`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar, overload

from torch import Tensor

SPLITS = ("train", "validation", "test", "all")
Spacing = tuple[float, float] | None
T = TypeVar("T")


class DataError(ValueError):
    """A set or path that cannot be loaded; the message says why and what to do."""


class Scan(NamedTuple):
    """One image: a slice, a frame or a photograph (or a region of one).

    `pixels` has shape (1, C, H, W), float32 in [0, 1], C = 1 or 3; `spacing` is in millimetres between (rows, columns),
    None where it is not known. Scans of one `subject` must never be on both sides of a split.
    """

    name: str
    subject: str
    pixels: Tensor
    spacing: Spacing


class Entry(NamedTuple):
    """A scan not opened yet: `open()` gives its pixels (1, C, H, W) and spacing."""

    name: str
    subject: str
    open: Callable[[], tuple[Tensor, Spacing]]


@dataclass(frozen=True)
class ImageSet(Sequence[Scan]):
    """Scans in a fixed order, each opened only when it is asked for; a slice of a set is a set.

    `upright` says that its images have a top, as faces and photographs have: a training may mirror them left to right
    and must not turn them.
    """

    name: str
    title: str
    origin: str
    licence: str
    citation: str
    entries: tuple[Entry, ...] = ()
    upright: bool = False

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Scan: ...

    @overload
    def __getitem__(self, index: slice) -> ImageSet: ...

    def __getitem__(self, index: int | slice) -> Scan | ImageSet:
        """Open one scan, or take a part of the set without opening any."""
        if isinstance(index, slice):
            return replace(self, entries=self.entries[index])
        entry = self.entries[index]
        return Scan(entry.name, entry.subject, *entry.open())

    def of_subjects(self, prefixes: Sequence[str], *, limit: int | None = None, required: bool = True) -> ImageSet:
        """Return the scans of subjects whose names start with one of `prefixes`; DataError if there is none.

        required : False gives an empty set instead of the error
        """
        kept = [entry for entry in self.entries if entry.subject.startswith(tuple(prefixes))]
        if not kept and required:
            known = ", ".join(sorted({entry.subject for entry in self.entries})[:10])
            raise DataError(f"{self.name} has no subject that starts with {' or '.join(prefixes)}; it has {known}, ...")
        return replace(self, entries=spread(kept, limit))

    def without(self, prefixes: Sequence[str]) -> ImageSet:
        """Return the scans of all other subjects than `of_subjects`."""
        return replace(self, entries=tuple(e for e in self.entries if not e.subject.startswith(tuple(prefixes))))

    def __iter__(self) -> Iterator[Scan]:
        """Open the scans one after the other."""
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        """Name, number and title, without a thousand entries."""
        return f"<ImageSet {self.name}: {len(self)} scans, {self.title}>"


def spread(items: Sequence[T], limit: int | None) -> tuple[T, ...]:
    """At most `limit` of the items, evenly spread and keeping their order (limit 1: the middle one)."""
    if limit is None or limit >= len(items):
        return tuple(items)
    if limit < 1:
        raise DataError(f"limit is {limit}; give at least 1, or None for all")
    return tuple(items[int((index + 0.5) * len(items) / limit)] for index in range(limit))
