"""When what was sent could be read from a topic by somebody who follows it: samples and logs, joined by id. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from chaos.clock import NS
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """The records meant to be sent in some windows: how many, and the latencies of those that were seen live.

    `unsure`: of those not seen, the ones that may have been visible in time: they are in the topic, or it is not shown
    that all of the topic was read. `split`: medians of the way into the log and of the way on from there.
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
        seen_ns, there = _seen(sent, topic)
        late_ns, there = (seen_ns - intended_ns)[chosen], there[chosen]
        seen = seen_ns[chosen] != NEVER_NS
        into_log_ns = (sent.column("return_ns") - intended_ns)[chosen]
        return cls(
            offered=len(seen),
            latency_s=late_ns[seen] / NS,
            unsure=int(np.count_nonzero(~seen if topic.why_unproven else there & ~seen)),
            split=_split(into_log_ns, late_ns, seen & sent.acknowledged[chosen]),
        )


def _seen(sent: Sent, topic: Topic) -> tuple[Ints, Array]:
    """Return, of each record sent, when it was first seen in a topic (NEVER_NS: not live), and whether it is there."""
    slots = Slots.of(sent.key, sent.n)
    taken = Taken.of(Log.of(topic), slots)
    seen_ns = np.full(slots.size + 1, NEVER_NS)
    np.minimum.at(seen_ns, taken.slot, taken.log.column("seen_ns"))
    seen_ns[-1] = NEVER_NS
    slot = slots.find(sent.key, sent.n)
    return seen_ns[slot], np.append(taken.place >= 0, values=False)[slot]


def _split(into_log_ns: Ints, late_ns: Ints, known: Array) -> dict[str, float | None]:
    if not known.any():
        return {"into_log_p50_s": None, "onward_p50_s": None}
    into_log, onward = into_log_ns[known] / NS, (late_ns - into_log_ns)[known] / NS
    return {"into_log_p50_s": finite(float(np.median(into_log))), "onward_p50_s": finite(float(np.median(onward)))}
