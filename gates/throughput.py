"""Work done: operations answered with success per second, as a number or as a share of the run's own steady window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chaos.clock import NS
from chaos.model import Outcome, Span, Status, Verdict
from gates.traffic import inside
from gates.wording import inconclusive, no_window, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.recording import Recording
    from chaos.windows import Window

SECONDS_MIN = 1.0  # a shorter window is one hiccup long


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Successful operations per second in a window stay at or above a floor: `300/s`, or `50% of steady`."""

    floor_per_s: float | None = None
    floor_share: float | None = None
    during: Span = Span.FAULT

    def __post_init__(self) -> None:
        if (self.floor_per_s is None) == (self.floor_share is None):
            raise ValueError("floor: exactly one is needed; write e.g. 300/s or 50% of steady")
        if self.floor_share is not None and self.during is Span.STEADY:
            raise ValueError("floor: a share of steady says nothing during steady; write a rate, e.g. 300/s")

    @property
    def needs(self) -> Mapping[Span, float]:
        """Span → seconds that each such window must last, beside the one judged: what a share is a share of."""
        return {} if self.floor_share is None else {Span.STEADY: SECONDS_MIN}

    def judge(self, recording: Recording) -> Verdict:
        """Judge answers by the moment at which they came."""
        spans = recording.windows.select(self.during)
        if not spans:
            return no_window(self.during)
        length_s = _seconds(spans)
        if length_s < SECONDS_MIN:
            return inconclusive(
                f"{self.during} lasted {length_s:.2f} s, {SECONDS_MIN:g} s are needed", needed_s=SECONDS_MIN
            )
        if recording.samples.num_rows == 0:
            return inconclusive("no operation was recorded", n=0)
        floor = self._floor(recording)
        if not floor:
            return inconclusive("nothing succeeded in the steady window, so there is nothing to compare with", n=0)
        return self._compared(_answers(recording, spans), spans, floor)

    def _floor(self, recording: Recording) -> float:
        if self.floor_share is None:
            return self.floor_per_s or 0.0
        steady = recording.windows.select(Span.STEADY)
        return self.floor_share * rate_per_s(recording, steady) if _seconds(steady) >= SECONDS_MIN else 0.0

    def _compared(self, answers: int, spans: Sequence[Window], floor: float) -> Verdict:
        value = answers / _seconds(spans)
        numbers = {"value_per_s": value, "limit_per_s": floor, "n": answers, "seconds": _seconds(spans)}
        of_steady = "" if self.floor_share is None else f" ({percent(self.floor_share)} of steady)"
        return Verdict(
            status=Status.PASS if value >= floor else Status.FAIL,
            summary=f"{value:,.0f}/s succeeded during {self.during}, floor {floor:,.0f}/s{of_steady}",
            numbers=numbers,
        )


def rate_per_s(recording: Recording, spans: Sequence[Window]) -> float:
    """Return successful answers per second in some windows; 0.0 for none."""
    length_s = _seconds(spans)
    return _answers(recording, spans) / length_s if length_s else 0.0


def _answers(recording: Recording, spans: Sequence[Window]) -> int:
    return_ns, outcome = recording.columns("return_ns", "outcome")
    return int(np.count_nonzero(inside(return_ns[outcome == Outcome.OK], spans)))


def _seconds(spans: Sequence[Window]) -> float:
    return sum(end - start for start, end in spans) / NS
