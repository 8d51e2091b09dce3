"""Whether a topic was read whole: from offsets alone, and pure.

    begin = 0 ──────── every record ────────▶ end        asked before the reading began
                                              └ the reader was told there that nothing more comes (partition EOF)
    asked again afterwards: the same ends, or something was still being written

A reader of committed records ends at the last stable offset, the first one of a transaction still open, and sees
nothing beyond. Where that is below the high watermark the topic is not settled: more may appear, or be taken back.
Offsets without a record are transactions' own (markers, aborted records): a topic that knows no transactions has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.model import to_json
from workloads.records.settings import READ_COMMITTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The offsets of a topic at one moment, by partition."""

    begin: Mapping[int, int]
    last_stable: Mapping[int, int]
    high: Mapping[int, int]

    @property
    def settled(self) -> bool:
        """Say whether no transaction is open."""
        return dict(self.last_stable) == dict(self.high)

    def of(self, isolation: str) -> Mapping[int, int]:
        """Return where a reader comes to its end."""
        return self.last_stable if isolation == READ_COMMITTED else self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One reading of a topic: the ends before and after it, and how far it came. None: nobody said."""

    topic: str
    isolation: str
    before: Ends | None
    after: Ends | None
    reached: Mapping[int, int] = field(default_factory=dict)  # partition → where it ended
    records: Mapping[int, int] = field(default_factory=dict)
    dense: bool = False  # the topic knows no transactions
    trouble: str = ""  # why the reading ended early


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What topics/<name>.closed.json says; partitions are texts there."""

    complete: bool
    why: str
    isolation: str
    end: Mapping[int, int]
    last_stable: Mapping[int, int]
    high: Mapping[int, int]
    settled: bool
    records: int
    late: str = ""  # what of a job's output was still missing when waiting for it was given up

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data: dict[str, Any] = to_json(self)
        for name in ("end", "last_stable", "high"):
            data[name] = {str(partition): offset for partition, offset in getattr(self, name).items()}
        return data


def closed(look: Look, late: str = "") -> Closed:
    """Say whether a reading was complete, and why not; of one that is, what speaks against its being the last word.

    `late` does not make a reading incomplete: the log was read as it stood, and a job that is behind is a finding.
    """
    holes = list(_holes(look))
    known = look.after or look.before or Ends(begin={}, last_stable={}, high={})
    end = look.before.of(look.isolation) if look.before else {}
    return Closed(
        complete=not holes,
        why="; ".join([*holes, *_open(look.topic, known), *([late] if late else [])]),
        isolation=look.isolation,
        end=end,
        last_stable=known.last_stable,
        high=known.high,
        settled=look.after is not None and known.settled,
        records=sum(look.records.values()),
        late=late,
    )


def _holes(look: Look) -> Iterator[str]:
    if look.trouble:
        yield look.trouble
    if look.before is None:
        yield f"{look.topic}: nobody said where it ends"
        return
    end = look.before.of(look.isolation)
    if not end:
        yield f"{look.topic}: no partitions"
    for partition, offset in sorted(end.items()):
        yield from _holes_of(look, partition, offset)
    yield from _moved(look, end)


def _holes_of(look: Look, partition: int, end: int) -> Iterator[str]:
    where, begin = f"{look.topic}/{partition}", look.before.begin.get(partition, 0) if look.before else 0
    if begin > 0:
        yield f"{where} begins at {begin}: what was before it is gone"
    reached = look.reached.get(partition)
    if reached is None and end > begin:
        yield f"{where} was not read to its end at {end}"
    elif reached is not None and reached < end:
        yield f"{where} was read to {reached} of {end}"
    elif look.dense and look.records.get(partition, 0) != end - begin:
        yield f"{where} gave {look.records.get(partition, 0)} records for {end - begin} offsets"


def _moved(look: Look, end: Mapping[int, int]) -> Iterator[str]:
    if look.after is None:
        yield f"{look.topic}: nobody said afterwards whether it still ends there"
        return
    for partition, now in sorted(look.after.of(look.isolation).items()):
        before = end.get(partition, 0)
        if now != before:
            how = "grew" if now > before else "shrank"
            yield f"{look.topic}/{partition} {how} from {before} to {now} while it was read"


def _open(topic: str, ends: Ends) -> Iterator[str]:
    for partition, high in sorted(ends.high.items()):
        stable = ends.last_stable.get(partition, 0)
        if stable < high:
            yield f"{topic}/{partition} has a transaction open at {stable}, its high watermark is {high}"
