"""Probes' answers as series: what was answered, when, and how a counter that may begin anew has grown. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gates.traffic import inside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.recording import Recording
    from chaos.windows import Window
    from gates.traffic import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One thing looked at again and again: times in ns, rising, and values, NaN where nobody answered."""

    times_ns: Array
    values: Array

    @property
    def answered(self) -> Series:
        """The answers alone."""
        known = ~np.isnan(self.values)
        return Series(times_ns=self.times_ns[known], values=self.values[known])

    def within(self, spans: Sequence[Window]) -> Series:
        """Return what was asked inside some windows."""
        chosen = inside(self.times_ns, spans)
        return Series(times_ns=self.times_ns[chosen], values=self.values[chosen])

    def growth(self, spans: Sequence[Window]) -> tuple[float, int]:
        """Return how much a counter grew from each answer to the next inside the windows, and how many answers tell.

        A counter that falls began anew, at 0. Growth between two answers belongs to the window of the second; the
        first answer of all tells nothing but where it began.
        """
        known = self.answered
        steps = np.diff(known.values)
        steps = np.where(steps < 0, known.values[1:], steps)
        chosen = inside(known.times_ns[1:], spans)
        return float(steps[chosen].sum()), int(np.count_nonzero(chosen))


def series(recording: Recording, name: str) -> Mapping[str, Series]:
    """Return the readings of a name by their text: what they speak of, whichever node answered."""
    told: dict[str, list[tuple[int, float]]] = {}
    for reading in recording.readings:
        if reading.name == name:
            value = np.nan if reading.value is None else reading.value
            told.setdefault(reading.text, []).append((reading.at_ns, value))
    return {text: _series(sorted(answers, key=lambda one: one[0])) for text, answers in told.items()}


def one_series(recording: Recording, name: str) -> Series:
    """Return the readings of a name, whatever their texts say."""
    told = [(r.at_ns, np.nan if r.value is None else r.value) for r in recording.readings if r.name == name]
    return _series(sorted(told, key=lambda one: one[0]))


def _series(answers: Sequence[tuple[int, float]]) -> Series:
    return Series(
        times_ns=np.array([at_ns for at_ns, _ in answers], np.int64),
        values=np.array([value for _, value in answers], np.float64),
    )
