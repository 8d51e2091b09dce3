"""What a log of records holds, and how another differs from it: the arithmetic behind the ledger. Pure, in numpy.

    key 0: n 0 1 2 3   key 1: n 0 1 2 …      every id that the input could hold has a slot, key by key
           │ │ │ │            │ │ │
    place  0 3 4 9            1 2 –          where in the log it came first; a repetition is a row that is not

Nothing is sorted, so that ten million records are a few passes over arrays: what is sought are rows whose slot is taken
already (doubled), slots without a row (lost), rows without a slot (unexpected), and places that go back (reordered).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from chaos.model import Outcome
from chaos.streams import NEVER_NS, UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from chaos.recording import Recording
    from chaos.streams import Topic

Ints = npt.NDArray[np.integer[Any]]

PRODUCE = "produce"  # the operation by which a record is sent
SPARSE, SPARSE_MIN = 8, 1 << 22  # so many slots a record, and at least so many in all, are still worth an array
KEYS_MAX = 1 << 22  # greatest key for which a table of all keys beats searching


class SparseError(ValueError):
    """Sequence numbers lie so far apart that they can't be those of a generator that counts from 0."""


# ---------------------------------------------------------------- a log


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A topic's records, in each partition in the order of its offsets; end markers are left out."""

    topic: Topic
    key: Ints
    n: Ints
    rows: Ints | None  # of the topic's table; None: all of them, as they stand
    corrupt: Ints  # rows whose key or sequence number could not be read
    markers: int
    repeated: int  # rows that the reader gave more than once, which is its own fault

    @classmethod
    def of(cls, topic: Topic, *, numbered: bool = True) -> Self:
        """Read a topic; `numbered`: its records have sequence numbers."""
        key, n = topic.columns("key", "n")
        rows, repeated = _in_order(topic)
        if rows is not None:
            key, n = key[rows], n[rows]
        good = key >= 0
        if numbered:
            good &= (n >= 0) & (n < NEVER_NS)
        bad: Ints = np.empty(0, np.int64)
        markers = 0
        if not good.all():
            marker = (key < 0) & (key != UNREADABLE)
            bad, markers = _chosen(rows, ~(good | marker)), int(np.count_nonzero(marker))
            rows = _chosen(rows, good)
            key, n = key[good], n[good]
        return cls(
            topic=topic,
            key=key,
            n=narrow(n) if numbered else n,
            rows=rows,
            corrupt=bad,
            markers=markers,
            repeated=repeated,
        )

    def __len__(self) -> int:
        return len(self.key)

    def column(self, name: str) -> Ints:
        """Return a column of the topic, of the records only and in their order."""
        (values,) = self.topic.columns(name)
        return values if self.rows is None else values[self.rows]

    def record(self, place: int) -> dict[str, Any]:
        """Return one record as the table has it."""
        return self.row(place if self.rows is None else int(self.rows[place]))

    def row(self, row: int) -> dict[str, Any]:
        """Return one row of the table, with the topic's name."""
        told: dict[str, Any] = self.topic.table.slice(row, 1).to_pylist()[0]
        return {"topic": self.topic.name, **told}


def _in_order(topic: Topic) -> tuple[Ints | None, int]:
    """Return the rows in the order of their partitions' offsets (None: they stand so), and how many came twice."""
    partition, offset = topic.columns("partition", "offset")
    by = np.argsort(partition, kind="stable")
    part, at = partition[by], offset[by]
    if not ((at[1:] <= at[:-1]) & (part[1:] == part[:-1])).any():
        return None, 0
    by = np.lexsort((offset, partition))
    part, at = partition[by], offset[by]
    fresh = np.ones(len(by), bool)
    fresh[1:] = (at[1:] != at[:-1]) | (part[1:] != part[:-1])
    return by[fresh], int(np.count_nonzero(~fresh))


def narrow(values: Ints) -> Ints:
    """Return numbers that are not negative in half the space, if they fit."""
    return values if values.max(initial=0) >= np.iinfo(np.int32).max else values.astype(np.int32)


def _chosen(rows: Ints | None, mask: npt.NDArray[np.bool_]) -> Ints:
    found: Ints = np.flatnonzero(mask) if rows is None else rows[mask]
    return found


# ---------------------------------------------------------------- slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """A place for each id (key, n) that a log could hold: those of one key in a row, up to its greatest n."""

    keys: Ints  # sorted
    start: Ints  # of each key, and the end of all; as narrow as it can be, and with it every slot
    width: Ints  # of each key, and 0 for every other one
    table: Ints | None  # key → its place among the keys

    @classmethod
    def of(cls, key: Ints, n: Ints) -> Self:
        """Lay them out; SparseError if that would take far more memory than the log."""
        top = int(key.max(initial=0))
        small = top < KEYS_MAX
        keys: Ints = np.flatnonzero(np.bincount(key)) if small else np.unique(key)
        table = None
        if small:
            table = np.full(top + 2, len(keys), np.int32)
            table[keys] = np.arange(len(keys), dtype=np.int32)
        most = np.full(len(keys) + 1, -1, np.int64)
        np.maximum.at(most, _among(keys, table, key), n)
        most[-1] = -1
        if int(most.max()) > SPARSE * len(key) + SPARSE_MIN or int(np.sum(most + 1)) > SPARSE * len(key) + SPARSE_MIN:
            raise SparseError(f"a key's sequence number is {int(most.max()):,} among {len(key):,} records")
        return cls(keys=keys, start=narrow(np.r_[0, np.cumsum(most[:-1] + 1)]), width=most + 1, table=table)

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.start[-1])

    def find(self, key: Ints, n: Ints) -> Ints:
        """Return the slot of each id; -1 for one that has none."""
        at = self.among(key)
        slot: Ints = self.start[at]
        stray = (n < 0) | (n >= self.width[at])
        if stray.any():
            n = np.where(stray, 0, n)
        slot += n.astype(slot.dtype, copy=False)
        slot[stray] = -1
        return slot

    def among(self, key: Ints) -> Ints:
        """Return the place of each key among the keys, their number for one that is none of them."""
        return _among(self.keys, self.table, key)

    def id(self, slot: int) -> tuple[int, int]:
        """Return key and n of a slot."""
        at = int(np.searchsorted(self.start, slot, side="right")) - 1
        return int(self.keys[at]), int(slot - self.start[at])

    def same_key(self, a: Ints, b: Ints) -> npt.NDArray[np.bool_]:
        """Say of pairs of slots whether they belong to one key."""
        same: npt.NDArray[np.bool_] = np.searchsorted(self.start, a, side="right") == np.searchsorted(
            self.start, b, side="right"
        )
        return same


def _among(keys: Ints, table: Ints | None, key: Ints) -> Ints:
    if table is not None:
        found: Ints = table[np.minimum(key, len(table) - 1)]
        return found
    at = np.searchsorted(keys, key)
    at[np.append(keys, -1)[at] != key] = len(keys)
    return at


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Which slots a log's records take. `place`: of each slot, where it is taken first; -1: nowhere."""

    log: Log
    slots: Slots
    slot: Ints  # of each record
    place: Ints
    again: Ints  # places of records whose slot was taken already

    @classmethod
    def of(cls, log: Log, slots: Slots) -> Self:
        """Find each record's slot."""
        slot, count = slots.find(log.key, log.n), len(log)
        kind = np.dtype(np.int32 if count < np.iinfo(np.int32).max else np.int64)
        place: Ints = np.full(slots.size + 1, -1, kind)  # one more: where those without a slot land
        place[slot[::-1]] = np.arange(count - 1, -1, -1, dtype=kind)  # of repeated indices the last one written stays
        again = np.flatnonzero(place[slot] != np.arange(count, dtype=kind))
        return cls(log=log, slots=slots, slot=slot, place=place[:-1], again=again[slot[again] >= 0])

    @property
    def empty(self) -> Ints:
        """The slots that no record takes."""
        return np.flatnonzero(self.place < 0)

    def back(self, known: Taken | None = None) -> Ints:
        """Places of records that stand behind one of their own key and partition with a greater n.

        Of repeated ones the first counts; with `known`, of ids that it has. Between neighbours in n all is said: a
        sequence whose neighbours rise rises.
        """
        slot = np.flatnonzero(self.place >= 0 if known is None else (self.place >= 0) & (known.place >= 0))
        place = self.place[slot]
        partition = self.log.column("partition")[place]
        moved = np.flatnonzero(partition[1:] != partition[:-1])
        if self.slots.same_key(slot[moved], slot[moved + 1]).any():  # a key in several partitions: order is in each
            by = np.argsort(partition, kind="stable")
            slot, place, partition = slot[by], place[by], partition[by]
        fall = np.flatnonzero((place[1:] < place[:-1]) & (partition[1:] == partition[:-1]))
        found: Ints = place[fall[self.slots.same_key(slot[fall], slot[fall + 1])]]
        return found

    def ranks(self) -> Ints:
        """Return, of each slot that is taken, how many of its key's are up to it: what a right count would say."""
        rank: Ints = np.cumsum(self.place >= 0, dtype=np.int64)
        before = np.r_[0, rank][self.slots.start[:-1]]
        told: Ints = rank - np.repeat(before, self.slots.width[:-1])
        return told


# ---------------------------------------------------------------- what producers were told


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The records that a generator sent or tried to, one each, in the order of the samples."""

    recording: Recording
    key: Ints
    n: Ints
    acknowledged: npt.NDArray[np.bool_]
    refused: npt.NDArray[np.bool_]  # never sent: the next record of the key has the same number
    given_up: int  # records that a producer ceased to care for, though they may have been sent
    rows: Ints | None  # of the samples; None: all of them

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """Read the samples of producing; ValueError if one has a key or a value that is no number."""
        parts = list(_numbers(recording.samples))
        none = np.empty(0, np.int32)
        key, n = (np.concatenate([none, *(part[at] for part in parts)]) for at in (0, 1))
        rows = None
        if len(key) != recording.samples.num_rows:
            rows = np.concatenate([none, *(part[2] for part in parts)])
        (outcome,) = recording.columns("outcome")
        if rows is not None:
            outcome = outcome[rows]
        given_up = int(np.count_nonzero(outcome == Outcome.UNKNOWN))
        return cls(
            recording=recording,
            key=key,
            n=n,
            acknowledged=outcome == Outcome.OK,
            refused=outcome == Outcome.FAILED,
            given_up=given_up,
            rows=rows,
        )

    def column(self, name: str) -> Ints:
        """Return a column of the samples, of the records only."""
        (values,) = self.recording.columns(name)
        return values if self.rows is None else values[self.rows]

    def sample(self, place: int) -> dict[str, Any]:
        """Return the sample that speaks of a record."""
        row = place if self.rows is None else int(self.rows[place])
        told: dict[str, Any] = self.recording.samples.slice(row, 1).to_pylist()[0]
        return told


def _numbers(samples: pa.Table) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Return, batch by batch, key and n of each record sent, markers apart, and its row."""
    import pyarrow as pa  # noqa: PLC0415  # with pyarrow a third of what reading an experiment would cost
    import pyarrow.compute as pc  # noqa: PLC0415  # as above

    first = 0
    for batch in samples.select(["op", "key", "value"]).to_batches():
        op = batch["op"]
        names = np.array([name == PRODUCE for name in op.dictionary.to_pylist()] or [False])
        mine = names[op.indices.to_numpy(zero_copy_only=False)]
        texts = [batch[name] if mine.all() else batch[name].filter(pa.array(mine)) for name in ("key", "value")]
        key, n = (pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False) for text in texts)
        data = slice(None) if (key >= 0).all() else key >= 0
        yield narrow(key[data]), narrow(n[data]), narrow(np.flatnonzero(mine)[data] + first)
        first += len(op)
