"""What rate a job keeps up with, by a ramp and how far the job was behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.climb import FLOOR, WORTH_S, Look, gave_in, sustained


def looks(*behind, step=500.0):
    return [Look((n + 1) * step, left) for n, left in enumerate(behind)]


def test_it_is_the_rate_at_the_last_look_before_the_job_fell_behind():
    assert sustained(looks(0, 100, 400, 9000, 20_000)) == 1500


def test_one_look_at_a_commit_is_no_falling_behind():
    assert sustained(looks(0, 0, 9000, 0, 0)) == 2500
    assert not gave_in(looks(0, 0, 9000, 0))


def test_two_in_a_row_are_also_where_nobody_told_in_between():
    assert gave_in(looks(0, 9000, None, 9500))
    assert sustained(looks(0, 9000, None, 9500, 0)) == 500


def test_a_job_that_keeps_up_to_the_end_gives_the_greatest():
    assert sustained(looks(*[10] * 8)) == 4000
    assert not gave_in(looks(*[10] * 8))


@pytest.mark.parametrize("behind", [(), (None, None), (9000, 9000)])
def test_what_nobody_told_or_never_kept_up_finds_nothing(behind):
    assert sustained(looks(*behind)) == 0


def test_at_a_low_rate_a_handful_is_no_sign():
    assert Look(10.0, FLOOR).keeps_up
    assert not Look(10.0, FLOOR + 1).keeps_up


@given(st.floats(100, 20_000), st.floats(10_000, 40_000))
def test_a_job_of_known_speed_is_found_from_below(speed, greatest):
    """A job that takes `speed` records a second, on a ramp of 20 s, looked at twice a second."""
    behind, at, told = 0.0, 0.0, []
    while at < 20 and not gave_in(told):
        rate = greatest * at / 20
        behind = max(0.0, behind + (rate - speed) * 0.5)
        told.append(Look(rate, behind))
        at += 0.5
    slack = greatest / 20 * 0.5 + 2 * (greatest / 20 * max(FLOOR, speed * WORTH_S)) ** 0.5
    reach = min(speed, greatest)
    assert reach - greatest / 20 <= sustained(told) <= reach + slack + greatest / 20
