"""When what was sent could be read from a topic by somebody who follows it: samples and logs, joined by id. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from chaos.clock import NS, ns
from chaos.streams import NEVER_NS
from gates.accounts import Log, Sent, Slots, Taken
from gates.traffic import inside
from gates.wording import finite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.recording import Recording
    from chaos.streams import Topic
    from chaos.windows import Window
    from gates.accounts import Ints
    from gates.traffic import Array

MS = ns(0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """The records meant to be sent in some windows: how many, and the latencies of those that were seen live.

    `unsure`: of those not seen, the ones that may have been visible in time: they are in the topic, or it is not shown
    that all of the topic was read. `split`: medians of the way into the log, from there to the job's operator (by its
    own clock), and on to the reader; of the two last together where the job does not tell when it had a record.
    """

    offered: int
    latency_s: Array
    unsure: int
    split: Mapping[str, float | None]

    @classmethod
    def of(cls, recording: Recording, topic: Topic, spans: Sequence[Window]) -> Self:
        """Join them; SparseError if the samples' numbers can't be laid out."""
        sent = Sent.of(recording)
        intended_ns = sent.column("intended_ns")
        chosen = inside(intended_ns, spans)
        ways = Ways.of(sent, topic)
        late_ns, there = (ways.seen_ns - intended_ns)[chosen], ways.there[chosen]
        seen = ways.seen_ns[chosen] != NEVER_NS
        return cls(
            offered=len(seen),
            latency_s=late_ns[seen] / NS,
            unsure=int(np.count_nonzero(~seen if topic.why_unproven else there & ~seen)),
            split=_split(ways, sent, chosen & sent.acknowledged & (ways.seen_ns != NEVER_NS)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Of each record sent: when it was first seen in a topic and when the job had it (NEVER_NS: not, or nobody knows).

    Both on the run's clock. `there`: it is in the topic.
    """

    seen_ns: Ints
    worked_ns: Ints
    there: Array

    @classmethod
    def of(cls, sent: Sent, topic: Topic) -> Self:
        """Join samples and topic by id; SparseError if the samples' numbers can't be laid out."""
        slots = Slots.of(sent.key, sent.n)
        taken = Taken.of(Log.of(topic), slots)
        slot = slots.find(sent.key, sent.n)
        worked_ms = taken.log.column("worked_ms")
        wall_ns = max((end.wall_ns for end in sent.recording.ends.values() if end is not None), default=0)
        known = (worked_ms != NEVER_NS) & bool(wall_ns)
        worked_ns = np.where(known, np.where(known, worked_ms, 0) * MS - wall_ns, NEVER_NS)
        return cls(
            seen_ns=_first(taken, slots.size, taken.log.column("seen_ns"))[slot],
            worked_ns=_first(taken, slots.size, worked_ns)[slot],
            there=np.append(taken.place >= 0, values=False)[slot],
        )


def _first(taken: Taken, slots: int, at_ns: Ints) -> Ints:
    """Return, of each slot and of none, the earliest of its records' times."""
    first: Ints = np.full(slots + 1, NEVER_NS)
    np.minimum.at(first, taken.slot, at_ns)
    first[-1] = NEVER_NS
    return first


def _split(ways: Ways, sent: Sent, known: Array) -> dict[str, float | None]:
    into_log = (sent.column("return_ns") - sent.column("intended_ns"))[known]
    onward = (ways.seen_ns - sent.column("return_ns"))[known]
    told = ways.worked_ns[known] != NEVER_NS
    to_job = (ways.worked_ns - sent.column("return_ns"))[known][told]
    visible = (ways.seen_ns - ways.worked_ns)[known][told]
    parts: Mapping[str, Array] = {
        "into_log": into_log,
        "onward": onward,
        "to_operator": to_job,
        "operator_to_visible": visible,
    }
    return {
        f"{name}_p50_s": finite(float(np.median(took_ns)) / NS) if len(took_ns) else None
        for name, took_ns in parts.items()
    }
