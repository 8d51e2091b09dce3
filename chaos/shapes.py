"""The shape of a load over time: its rate piece by piece, when its peak is reached, what share is offered when. Pure.

share   100% ┤      ╭────────╮              stages: ramp to a share, then hold it
50% ┤  ╭───╯        ╰────────      the last one without a hold goes on for ever
└──┴───┴────────┴────────▶ seconds since the first operation
└ peak_at_s
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import LoadStage


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch in which the rate goes linearly from `start_per_s` to `end_per_s`; the last one has no end."""

    at_s: float
    for_s: float  # math.inf: to the end
    start_per_s: float
    end_per_s: float

    @property
    def area(self) -> float:
        """Return how many arrivals are due within it."""
        if math.isinf(self.for_s):
            return math.inf if self.end_per_s > 0 else 0.0
        return (self.start_per_s + self.end_per_s) / 2 * self.for_s

    def area_within(self, start_s: float, end_s: float) -> float:
        """Return how many of them are due in a stretch."""
        since_s, until_s = max(self.at_s, start_s), min(self.at_s + self.for_s, end_s)
        if until_s <= since_s:
            return 0.0
        return (self.start_per_s + self._slope * ((since_s + until_s) / 2 - self.at_s)) * (until_s - since_s)

    def due_s(self, count: float) -> float:
        """Return when the `count`-th arrival of this piece is due: the root of start·t + slope·t²/2 = count."""
        root = math.sqrt(max(0.0, self.start_per_s**2 + 2 * self._slope * count))
        return self.at_s + 2 * count / (self.start_per_s + root)  # the form without cancellation

    @property
    def _slope(self) -> float:
        return 0.0 if math.isinf(self.for_s) else (self.end_per_s - self.start_per_s) / self.for_s


def peak_at_s(stages: Sequence[LoadStage]) -> float:
    """Return seconds from the first operation until the greatest share is reached for the first time."""
    shares = [stage.share for stage in stages]
    place = shares.index(max(shares))
    return sum(stage.ramp_s + (stage.hold_s or 0.0) for stage in stages[:place]) + stages[place].ramp_s


def peak_lasts_s(stages: Sequence[LoadStage]) -> float:
    """Return seconds for which the first peak is held; infinity if it holds to the end."""
    shares = [stage.share for stage in stages]
    hold_s = stages[shares.index(max(shares))].hold_s
    return math.inf if hold_s is None else hold_s


def lasts_s(stages: Sequence[LoadStage]) -> float:
    """Return seconds for which it was said what is offered; infinity if the last stage holds to the end."""
    return math.inf if stages[-1].hold_s is None else sum(stage.ramp_s + (stage.hold_s or 0.0) for stage in stages)


def pieces(rate_per_s: float, stages: Sequence[LoadStage]) -> tuple[Piece, ...]:
    """Return the rate over time; the last stage holds until somebody ends the load."""
    out: list[Piece] = []
    at_s, before = 0.0, 0.0
    for n, stage in enumerate(stages):
        rate = rate_per_s * stage.share
        hold_s = math.inf if n == len(stages) - 1 or stage.hold_s is None else stage.hold_s
        for for_s, start in ((stage.ramp_s, before), (hold_s, rate)):
            if for_s > 0:
                out.append(Piece(at_s=at_s, for_s=for_s, start_per_s=start, end_per_s=rate))
                at_s += for_s
        before = rate
    return tuple(out)


def mean_share(stages: Sequence[LoadStage], start_s: float, end_s: float) -> float:
    """Return the mean share in a stretch of seconds since the first operation; what was last held goes on."""
    if end_s <= start_s:
        return stages[-1].share
    return sum(piece.area_within(start_s, end_s) for piece in pieces(1.0, stages)) / (end_s - start_s)
