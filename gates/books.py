"""Both sides of a ledger, opened: what producers were told, the input log, what came out of it. Pure.

Books.of(recording, input, output, windows) ─▶ findings: each kind of violation, with its first records
                                            ─▶ doubts: why nothing that was seen can acquit
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chaos.streams import NEVER_NS
from gates.accounts import Log, Sent, Slots, Taken
from gates.cells import Cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from chaos.recording import Recording
    from chaos.streams import Topic
    from gates.accounts import Ints

SHOWN = 5  # records of each kind that are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of violation: how many, and the first of them."""

    kind: str
    count: int
    records: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What is compared. `numbers`: how much of each there is."""

    sent: Sent
    sent_slot: Ints
    source: Taken
    back: Ints  # places in the input log that are out of order
    output: Taken | None
    cells: Cells | None
    numbers: dict[str, Any]
    doubts: tuple[str, ...]
    remarks: tuple[str, ...]

    @classmethod
    def of(
        cls,
        recording: Recording,
        source: Topic,
        output: Topic | None = None,
        windows: Topic | None = None,
        *,
        window_ms: int = 1000,
        delay_ms: int = 0,
    ) -> Self:
        """Open the books; SparseError if the input's numbers can't be laid out."""
        log, sent = Log.of(source), Sent.of(recording)
        slots = Slots.of(log.key, log.n)
        taken = Taken.of(log, slots)
        out = None if output is None else Taken.of(Log.of(output), slots)
        cells = None if windows is None else Cells.of(taken, Log.of(windows, numbered=False), window_ms, delay_ms)
        sent_slot = slots.find(sent.key, sent.n)
        topics = [topic for topic in (source, output, windows) if topic is not None]
        return cls(
            sent=sent,
            sent_slot=sent_slot,
            source=taken,
            back=taken.back(),
            output=out,
            cells=cells,
            numbers=_numbers(taken, sent, out, cells),
            doubts=tuple(_doubts(recording, taken, sent, sent_slot, topics, cells)),
            remarks=tuple(_remarks(log, out)),
        )

    @property
    def told_ns(self) -> Ints:
        """When each acknowledgement came."""
        told: Ints = self.sent.column("return_ns")[self.sent.acknowledged]
        return told

    def findings(self) -> Iterator[Finding]:
        """Look for each kind of violation, in the order of KINDS."""
        yield from self._of_producers()
        yield from self._of_input()
        if self.output is not None:
            yield from self._of_output(self.output)
            yield from self._of_counts(self.output)
        if self.cells is not None:
            yield from self._of_windows(self.cells)

    def _of_producers(self) -> Iterator[Finding]:
        if not _whole(self.source):
            return
        there = np.append(self.source.place >= 0, values=False)  # the last: an id without a slot
        lost = np.flatnonzero(self.sent.acknowledged & ~there[self.sent_slot])
        yield _finding("acknowledged, lost", lost, self._told)

    def _told(self, place: int) -> dict[str, Any]:
        row = self.sent.sample(place)
        ids = {"key": int(row["key"]), "n": int(row["value"])}
        return {**ids, "endpoint": _spoken(row["endpoint"], row["revision"]), "return_ns": row["return_ns"]}

    def _of_input(self) -> Iterator[Finding]:
        log = self.source.log
        yield _finding("input doubled", self.source.again, log.record)
        yield _finding("input reordered", self.back, log.record)
        yield _finding("input corrupt", log.corrupt, log.row)

    def _of_output(self, out: Taken) -> Iterator[Finding]:
        lost, doubled = _compared(self.source, out)
        if _whole(out):
            yield _finding("lost", lost, lambda slot: self.source.log.record(int(self.source.place[slot])))
        yield _finding("doubled", doubled, out.log.record)
        if _whole(self.source):
            never = np.append(self.source.place < 0, values=True)[out.slot]
            yield _finding("unexpected", np.flatnonzero(never), out.log.record)
        if not self.back.size:  # in the order of an input that is out of order, nobody can say which is wrong
            yield _finding("reordered", out.back(self.source), out.log.record)
        yield _finding("corrupt", out.log.corrupt, out.log.row)

    def _of_counts(self, out: Taken) -> Iterator[Finding]:
        """Compare running counts, where the input itself is in order: else no count could be right."""
        if self.source.again.size or self.back.size or not self.numbers["counted"]:
            return
        known = np.append(self.source.place >= 0, values=False)[out.slot]
        right = np.append(self.source.ranks(), 0)[out.slot] if self.source.empty.size else out.log.n + 1
        count = out.log.column("count")
        none = count == NEVER_NS

        def tell(place: int) -> dict[str, Any]:
            return {**out.log.record(place), "right": int(right[place])}

        yield _finding("undercounted", np.flatnonzero(((count < right) | none) & known), tell)
        yield _finding("overcounted", np.flatnonzero((count > right) & ~none & known), tell)

    def _of_windows(self, cells: Cells) -> Iterator[Finding]:
        record, known = cells.log.record, _whole(self.source)
        if known and not cells.log.topic.why_unproven:
            yield _finding("window lost", cells.lost, cells.cell)
        yield _finding("window doubled", cells.doubled, record)
        if known:
            yield _finding("window unexpected", cells.unexpected, record)
        yield _finding("window corrupt", cells.log.corrupt, cells.log.row)
        if known:
            yield _finding("window undercounted", cells.low, cells.counted)
            yield _finding("window overcounted", cells.high, cells.counted)


def _whole(taken: Taken) -> bool:
    return not taken.log.topic.why_unproven


def _numbers(source: Taken, sent: Sent, out: Taken | None, cells: Cells | None) -> dict[str, Any]:
    return {
        "n": len(source.log),
        "keys": len(source.slots.keys),
        "acknowledged": int(np.count_nonzero(sent.acknowledged)),
        "given_up": sent.given_up,
        "output": len(out.log) if out else 0,
        "counted": int(np.count_nonzero(out.log.column("count") != NEVER_NS)) if out else 0,
        "windows": len(cells.log) if cells else 0,
        "windows_owed": cells.owed if cells else 0,
    }


def _finding(kind: str, places: Ints, tell: Callable[[int], Mapping[str, Any]]) -> Finding:
    return Finding(kind=kind, count=len(places), records=tuple(tell(int(place)) for place in places[:SHOWN]))


def _compared(source: Taken, out: Taken) -> tuple[Ints, Ints]:
    """Return the slots that came out less often than they went in, and places of what came out more often.

    Both in the order of their logs. As often as it went in is right, even if that should have been once.
    """
    if not source.again.size:
        lost = np.flatnonzero((source.place >= 0) & (out.place < 0))
        doubled = out.again[source.place[out.slot[out.again]] >= 0]
    else:
        ins, outs = _times(source), _times(out)
        lost = np.repeat(np.arange(len(ins)), np.maximum(ins - outs, 0))
        doubled = _last(out, np.where(ins > 0, np.maximum(outs - ins, 0), 0))
    return lost[np.argsort(source.place[lost], kind="stable")], doubled


def _times(taken: Taken) -> Ints:
    """Return how often each slot is taken."""
    often: Ints = (taken.place >= 0) + np.bincount(taken.slot[taken.again], minlength=taken.slots.size)
    return often


def _last(out: Taken, excess: Ints) -> Ints:
    """Return the places of the last `excess` records of each slot."""
    late = out.again[::-1]
    late = late[np.argsort(out.slot[late], kind="stable")]
    slot = out.slot[late]
    nth = np.arange(len(slot)) - np.searchsorted(slot, slot)
    return np.sort(late[nth < excess[slot]])


def _doubts(
    recording: Recording,
    source: Taken,
    sent: Sent,
    sent_slot: Ints,
    topics: Sequence[Topic],
    cells: Cells | None,
) -> Iterator[str]:
    """Say why nothing that was seen can acquit: a log not shown to be whole, a generator whose account is not."""
    yield from (why for topic in topics if (why := topic.why_unproven))
    if not len(source.log):
        yield f"nothing is in {source.log.topic.name}"
    elif cells is not None and not cells.owed:
        yield f"no window of {cells.log.topic.name} need have closed; let the load end with markers"
    if not sent.acknowledged.any():
        yield "no record was acknowledged"
    elif not recording.cut_short:
        yield from _misaccounted(source, sent_slot)


def _misaccounted(source: Taken, sent_slot: Ints) -> Iterator[str]:
    """Say which ids the generator never spoke of: a generator that skips some, or sends some unseen, is no measure."""
    spoken = np.zeros(source.slots.size + 1, bool)
    spoken[sent_slot] = True
    there = source.place >= 0
    for what, slots in (
        ("skipped {} of its own numbers, the first", np.flatnonzero(~spoken[:-1] & ~there)),
        ("has no sample of {} in the log, the first", np.flatnonzero(~spoken[:-1] & there)),
    ):
        if slots.size:
            key, n = source.slots.id(int(slots[0]))
            blamed = "the load is at fault, not the stack"
            yield f"the generator {what.format(f'{slots.size:,}')}: key {key}, n {n}; {blamed}"


def _remarks(log: Log, out: Taken | None) -> Iterator[str]:
    if out is None:
        return
    end = out.log.topic.end
    if end is not None and end.isolation != "read_committed":
        yield f"{out.log.topic.name} was read at {end.isolation}"
    if end is not None and end.late:
        yield end.late
    elif out.log.markers < log.markers:
        yield f"the job had not come to the end of its input: {out.log.markers} of {log.markers} end markers came out"


def _spoken(endpoint: str, revision: int | None) -> str:
    return endpoint if revision is None else f"{endpoint} at offset {revision}"
