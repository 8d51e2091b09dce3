"""When a load's peak is reached, how long it is said what comes, and what share of it is offered when."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.model import LoadStage
from chaos.shapes import lasts_s, mean_share, peak_at_s, peak_lasts_s, pieces

HILL = ((2, 0.5, 10), (3, 1.0, 20), (5, 0.5, None))


def stages(*told):
    return tuple(LoadStage(ramp_s=ramp, share=share, hold_s=hold) for ramp, share, hold in told)


@pytest.mark.parametrize(
    ("told", "at_s", "held_s", "all_s"),
    [
        ([(2, 1.0, None)], 2, math.inf, math.inf),
        ([(2, 0.5, 10), (3, 1.0, None)], 15, math.inf, math.inf),
        (HILL, 15, 20, math.inf),  # what comes after the peak is part of the run
        ([(2, 0.5, 10), (3, 1.0, 20), (5, 0.5, 30), (5, 1.0, 1)], 15, 20, 76),  # the first of two peaks
        ([(0, 1.0, 30)], 0, 30, 30),
    ],
)
def test_the_peak_is_the_first_moment_at_the_greatest_share(told, at_s, held_s, all_s):
    shape = stages(*told)
    assert (peak_at_s(shape), peak_lasts_s(shape), lasts_s(shape)) == (at_s, held_s, all_s)


@pytest.mark.parametrize(
    ("start_s", "end_s", "share"),
    [(0, 2, 0.25), (2, 12, 0.5), (12, 15, 0.75), (15, 35, 1.0), (35, 40, 0.75), (40, 1000, 0.5), (30, 40, 0.875)],
)
def test_a_stretch_has_the_mean_of_what_is_offered_in_it(start_s, end_s, share):
    assert mean_share(stages(*HILL), start_s, end_s) == pytest.approx(share)


@given(st.lists(st.floats(0, 60), min_size=2, max_size=2, unique=True).map(sorted))
def test_two_halves_are_the_whole_and_pieces_add_up(cut):
    shape, (start, end) = stages(*HILL), cut
    middle = (start + end) / 2
    halves = (mean_share(shape, start, middle) + mean_share(shape, middle, end)) / 2
    assert mean_share(shape, start, end) == pytest.approx(halves, abs=1e-9)
    assert sum(piece.area for piece in pieces(1.0, shape)[:-1]) == pytest.approx(35.0 * mean_share(shape, 0, 35) + 3.75)
