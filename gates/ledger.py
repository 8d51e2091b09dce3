"""Exactly once, seen from the outside: what came out of a job, compared record by record with what went in.

    producers were told ─▶ acknowledged (key, n) ─┐
                                                  ▼                   each in it
    input log   k0: 0 1 2 3 …  k1: 0 1 …      ground truth            each once, in order
                   │ job │                        │
    output log  k0: 0 1 2 3 …  k1: 0 1 …      the same multiset       each once, in order, counted 1, 2, 3 …
    windows     k0 12:00:01 → 50 …            counts as recounted from the input's own timestamps

The log is the truth, not what the generator believes: a record whose delivery nobody knows of counts if it is there.
What is missing is only missing if everything was read: up to the end offsets, with transactions settled (KIP-98), so
that a log which is not shown to be whole can convict of what it holds and never acquit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chaos.model import Status, Verdict
from chaos.units import counted
from gates.wording import inconclusive, listed, percent, too_few

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.recording import Recording
    from gates.books import Books, Finding

EXACT, AT_LEAST, AT_MOST = "exact", "at-least-once", "at-most-once"

# What may be wrong → what it is, as the verdict tells it of one record; the first kind found is told first.
KINDS: Mapping[str, str] = {
    "acknowledged, lost": "its producer was told that it is stored, and it is not in the log",
    "input doubled": "it is in the log twice, from an idempotent producer",
    "input reordered": "it stands behind a later one of its key",
    "input corrupt": "it can't be read",
    "lost": "it never came out",
    "doubled": "it came out again",
    "unexpected": "it came out, and never went in",
    "reordered": "it came out behind a later one of its key",
    "corrupt": "what came out can't be read",
    "undercounted": "its running count is too low",
    "overcounted": "its running count is too high",
    "window lost": "the window never came out",
    "window doubled": "the window came out again",
    "window unexpected": "the window came out, and nothing went into it",
    "window corrupt": "what came out can't be read",
    "window undercounted": "the window's count is too low",
    "window overcounted": "the window's count is too high",
}
# A producer that gives a record up begins a new epoch, and the brokers forget what it sent in the last one: what it
# sends again can then stand in the log twice (KIP-360; INTRODUCTION.md of librdkafka, "Idempotent Producer").
OF_A_NEW_EPOCH = frozenset({"input doubled", "input reordered"})
TOLERATED: Mapping[str, frozenset[str]] = {
    EXACT: frozenset(),
    AT_LEAST: frozenset({"doubled", "overcounted", "window doubled", "window overcounted"}),
    AT_MOST: frozenset({"lost", "undercounted", "window lost", "window undercounted"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Every record of the log `input` is in `output` exactly once, in order, rightly counted, and in its window.

    `output` and `windows`: topics as they were read back; left out, the log alone is judged. `window`: their length;
    those that a watermark `watermark_delay` behind the newest record need not have closed are not owed.
    `completeness`: at-least-once tolerates what came out twice, at-most-once what did not come out, each for up to
    a share `tolerated` of them. `ordered: false`, of a job that deals a key's records out to several tasks: what comes
    out behind a later one of its key is told and not judged. Fewer than `records_min` acknowledged ones can't tell, be
    it in the run or since the first fault was injected.
    """

    input: str = "in"
    output: str = ""
    windows: str = ""
    window_s: float = 1.0
    watermark_delay_s: float = 5.0
    completeness: Literal["exact", "at-least-once", "at-most-once"] = "exact"
    tolerated_share: float | None = None
    ordered: bool = True
    records_min: int = 100

    def __post_init__(self) -> None:
        if self.records_min < 1:
            raise ValueError(f"records-min: {self.records_min} would let silence pass; write 1 or more")
        if self.window_s < 0.001:
            raise ValueError("window: at least a millisecond; write e.g. 1s")
        if self.completeness == EXACT and self.tolerated_share is not None:
            raise ValueError("tolerated: exact tolerates nothing; leave it out, or write completeness: at-least-once")
        if self.completeness == AT_MOST and self.tolerated_share is None:
            raise ValueError("tolerated: how many may be lost must be said; write e.g. 1%")
        if self.windows and not self.output:
            raise ValueError("output: windows are judged beside the records they count; name their topic, e.g. out")

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that must be read back."""
        return tuple(name for name in (self.input, self.output, self.windows) if name)

    def judge(self, recording: Recording) -> Verdict:
        """Compare the logs; what is found in a log holds, what is missing only if it was read to its end."""
        from gates.accounts import SparseError  # noqa: PLC0415  # pyarrow costs, and plan never judges
        from gates.books import Books  # noqa: PLC0415  # as above

        topics = {name: topic for name in self.topics if (topic := recording.topic(name)) is not None}
        if missing := [name for name in self.topics if name not in topics]:
            return inconclusive(f"topic {listed(missing)} was not read back after the run", n=0)
        try:
            books = Books.of(
                recording,
                topics[self.input],
                *(topics.get(name) for name in (self.output, self.windows)),
                window_ms=round(self.window_s * 1000),
                delay_ms=round(self.watermark_delay_s * 1000),
            )
        except SparseError as error:
            return inconclusive(f"{self.input} can't be compared: {error}", n=topics[self.input].table.num_rows)
        findings = [found for found in books.findings() if found.count]
        return self._verdict(books, findings, self._scarce(recording, books))

    def _scarce(self, recording: Recording, books: Books) -> str:
        return too_few(recording, books.told_ns, self.records_min, "acknowledged records")

    def _verdict(self, books: Books, findings: Sequence[Finding], scarce: str) -> Verdict:
        own = [found for found in findings if found.kind in OF_A_NEW_EPOCH and books.numbers["given_up"]]
        wrong = [found for found in findings if found not in own and not self._tolerable(found, books)]
        numbers = books.numbers | {
            "kinds": {found.kind: found.count for found in findings},
            "records": [{"what": found.kind, **record} for found in findings for record in found.records],
        }
        why = "; ".join([*books.doubts, *(_begun_anew(found, books) for found in own)])
        if wrong:
            summary = "; ".join([_sentence(wrong, books.numbers["n"]), *books.remarks])
            return Verdict(status=Status.FAIL, summary=summary, numbers=numbers, certain=True)
        if why or scarce:
            return inconclusive(why or f"{scarce}; nothing that was seen is wrong", **numbers)
        return Verdict(status=Status.PASS, summary=self._praise(books, findings), numbers=numbers)

    def _tolerable(self, found: Finding, books: Books) -> bool:
        if found.kind == "reordered" and not self.ordered:
            return True
        if found.kind not in TOLERATED[self.completeness]:
            return False
        if self.tolerated_share is None or "counted" in found.kind:  # one lost makes all later counts of its key low
            return True
        of: int = books.numbers["windows_owed" if "window" in found.kind else "n"]
        return found.count <= self.tolerated_share * of

    def _praise(self, books: Books, tolerated: Sequence[Finding]) -> str:
        n, keys = books.numbers["n"], books.numbers["keys"]
        said = f"{counted(n, 'record')} of {counted(keys, 'key')}"
        if not self.output:
            return f"{said}: each acknowledged one is in topic {self.input}, each once and in order"
        kept = [f"{found.kind} {found.count:,} ({percent(found.count / max(1, n))})" for found in tolerated]
        terms = self.completeness if self.ordered else f"{self.completeness} in any order"
        how = f"{terms} tolerates: {listed(kept)}" if kept else f"each once in {self.output}, in order"
        counts = "" if books.numbers["counted"] == 0 or kept else ", rightly counted"
        windows = f"; {books.numbers['windows']:,} windows as recounted" if self.windows and not kept else ""
        return f"{said}: {how}{counts}{windows}"


def _begun_anew(found: Finding, books: Books) -> str:
    given_up = counted(books.numbers["given_up"], "record")
    return (
        f"{found.kind} {found.count:,}, and nobody can say by whom: the producer gave {given_up} up, and so began anew;"
        " see why the log took so long to answer, or raise the load's timeout"
    )


def _sentence(wrong: Sequence[Finding], n: int) -> str:
    """Say how many of each kind, and of the first kind which record is the first."""
    tally = listed([f"{found.kind} {found.count:,}" for found in wrong], most=6)
    first = wrong[0]
    return f"{tally} of {n:,} records; the first {first.kind}: {_named(first.records[0])}: {KINDS[first.kind]}"


def _named(record: Mapping[str, Any]) -> str:
    """Name a record: "key 17, n 5, in/1 offset 88"."""
    said = {name: value for name, value in record.items() if value is not None}
    told = [f"{name} {said[name]}" for name in ("key", "n") if name in said]
    if "window_ms" in said:
        told.append(f"window {said['window_ms']} ms")
    if "offset" in said:
        told.append(f"{said['topic']}/{said['partition']} offset {said['offset']}")
    if "endpoint" in said:
        told.append(f"acknowledged by {said['endpoint']}")
    if "right" in said:
        told.append(f"count {said.get('count')}, right is {said['right']}")
    return ", ".join(told)
