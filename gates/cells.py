"""Counts by key and window of time, recounted from the input's own timestamps. Pure, in numpy.

    input   k0 … 12:00:01.2  12:00:01.9 │ 12:00:02.1 …      cell (k0, 12:00:01) holds 2, (k0, 12:00:02) …
    output  (k0, 12:00:01) → 2                              each cell once, with its count

A window is owed once the watermark, the newest time of the slowest partition less a delay, has passed its end: an end
marker with a later time in every partition makes all of them owed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.streams import NEVER_NS
from gates.accounts import SPARSE, SPARSE_MIN

if TYPE_CHECKING:
    from gates.accounts import Ints, Log, Taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """What is wrong with windows: `lost` cells, of those `owed`; places in their log of all else."""

    owed: int
    lost: Ints
    doubled: Ints
    unexpected: Ints
    low: Ints
    high: Ints
    right: Ints  # of each record of the log
    keys: Ints
    width: int
    first: int
    window_ms: int
    log: Log

    @classmethod
    def of(cls, source: Taken, windows: Log, window_ms: int, delay_ms: int) -> Cells:
        """Recount the input and compare."""
        index = source.log.column("timestamp_ms") // window_ms
        first, width = (int(index.min()), int(np.ptp(index)) + 1) if len(index) else (0, 1)
        keys = source.slots.keys
        held, counts = _counts(
            source.slots.among(source.log.key) * np.int64(width) + (index - first), len(keys) * width
        )
        cell = _cells(source, windows, window_ms, first, width)
        at = np.searchsorted(held, cell)
        known = np.append(held, -1)[at] == cell
        known &= cell >= 0
        right = np.append(counts, 0)[at]
        once = np.unique(cell[known], return_index=True)[1]
        judged = np.flatnonzero(known)[once]
        count = windows.column("count")
        owed = (first + held % width + 1) * window_ms <= _newest_ms(source.log) - delay_ms
        missing = np.ones(len(held), bool)
        missing[at[judged]] = False
        low = (count[judged] < right[judged]) | (count[judged] == NEVER_NS)
        return cls(
            owed=int(np.count_nonzero(owed)),
            lost=held[missing & owed],
            doubled=np.setdiff1d(np.flatnonzero(known), judged),
            unexpected=np.flatnonzero(~known),
            low=np.sort(judged[low]),
            high=np.sort(judged[~low & (count[judged] > right[judged])]),
            right=right,
            keys=keys,
            width=width,
            first=first,
            window_ms=window_ms,
            log=windows,
        )

    def cell(self, cell: int) -> dict[str, Any]:
        """Return key and window of a cell."""
        return {
            "key": int(self.keys[cell // self.width]),
            "window_ms": (self.first + cell % self.width) * self.window_ms,
        }

    def counted(self, place: int) -> dict[str, Any]:
        """Return a window that came out, and the count that would have been right."""
        return {**self.log.record(place), "right": int(self.right[place])}


def _counts(cell: Ints, size: int) -> tuple[Ints, Ints]:
    """Return which cells hold something, and how much."""
    if size > SPARSE * len(cell) + SPARSE_MIN:
        held, counts = np.unique(cell, return_counts=True)
        return held, counts
    count = np.bincount(cell, minlength=size)
    held = np.flatnonzero(count)
    return held, count[held]


def _cells(source: Taken, windows: Log, window_ms: int, first: int, width: int) -> Ints:
    """Return the cell of each window that came out; -1: the input has no such one."""
    start = windows.column("window_ms")
    index, rest = np.divmod(start, window_ms)
    among = source.slots.among(windows.key)
    cell: Ints = among * np.int64(width) + (index - first)
    cell[(rest != 0) | (index < first) | (index >= first + width) | (among == len(source.slots.keys))] = -1
    return cell


def _newest_ms(log: Log) -> int:
    """Return the newest time of the slowest partition, end markers included; a partition without any holds all back."""
    partition, at_ms = log.topic.columns("partition", "timestamp_ms")
    count = max([-1, *(log.topic.end.high if log.topic.end else ()), int(partition.max(initial=-1))]) + 1
    newest = np.full(count, np.iinfo(np.int64).min // 2)
    np.maximum.at(newest, partition, at_ms)
    return int(newest.min(initial=np.iinfo(np.int64).max // 2))
