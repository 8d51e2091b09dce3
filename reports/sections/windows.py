"""What clients saw, window by window: the numbers under the charts, for those who can't see or trust a curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.model import Span
from gates.throughput import rate_per_s
from gates.traffic import traffic
from gates.wording import percent, seconds

if TYPE_CHECKING:
    from chaos.recording import Recording
    from gates.traffic import Traffic

NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """The traffic of one kind of window, as text."""

    name: str
    times: int
    seconds: str
    offered: str
    served: str
    of_steady: str
    p50: str
    p99: str
    lost: str


def rows(recording: Recording) -> list[WindowRow]:
    """Return a row for steady, fault, recovery and run, as far as the run has them."""
    steady = rate_per_s(recording, recording.windows.select(Span.STEADY))
    found = ((span, traffic(recording, span)) for span in Span)
    return [_row(recording, span, seen, steady) for span, seen in found if seen.spans]


def _row(recording: Recording, span: Span, seen: Traffic, steady: float) -> WindowRow:
    served = rate_per_s(recording, seen.spans)
    return WindowRow(
        name=span.value,
        times=len(seen.spans),
        seconds=f"{seen.seconds:.1f} s",
        offered=f"{seen.n:,}",
        served=f"{served:,.0f}/s",
        of_steady=percent(served / steady) if steady else NONE,
        p50=_quantile(seen, 0.5),
        p99=_quantile(seen, 0.99),
        lost=percent(seen.errors / seen.n) if seen.n else NONE,
    )


def _quantile(seen: Traffic, share: float) -> str:
    """Return the nearest rank among all that was offered; what was not served took for ever."""
    if not seen.n:
        return NONE
    value = float(seen.latencies_s[math.ceil(seen.n * share) - 1])
    return "never answered" if math.isinf(value) else seconds(value)
