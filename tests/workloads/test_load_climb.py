"""What rate a job keeps up with, by a ramp and how far the job was behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.clock import NS
from chaos.model import LoadStatus
from workloads import climb
from workloads.climb import FLOOR, WORTH_S, Look, gave_in, sustained, unanswered


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


def test_a_log_that_does_not_take_them_is_decisive_whether_or_not_the_job_is_asked():
    flooded = [Look(500.0, 0.0), Look(1000.0, 0.0, 900.0), Look(1500.0, None, 9000.0), Look(2000.0, None, 20_000.0)]
    assert sustained(flooded) == 1000
    assert gave_in(flooded)
    assert not gave_in([*flooded[:2], Look(1500.0, None, 900.0), Look(2000.0, None, 900.0)])
    assert not Look(1000.0, 600.0, 600.0).keeps_up


def test_at_a_low_rate_a_handful_is_no_sign():
    assert Look(10.0, FLOOR).keeps_up
    assert not Look(10.0, FLOOR + 1).keeps_up


def test_what_the_log_has_not_taken_counts_from_what_was_due_at_the_time_of_the_status():
    def status(at_s, **counts):
        return LoadStatus(at_ns=5 * NS + int(at_s * NS), running=True, **counts)

    ramp = {"epoch_ns": 5 * NS, "ramp_s": 20.0, "greatest_per_s": 4000.0}
    assert unanswered(status(-1.0), **ramp) == 0
    assert unanswered(status(10.0), **ramp) == 10_000  # half of the ramp, a quarter of its 40,000
    assert unanswered(status(10.0, ok=9000, failed=300, unknown=200), **ramp) == 1000  # what was given up is not there
    assert unanswered(status(10.0, ok=10_001), **ramp) == 0


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


class Flooded:
    """A generator whose log takes `speed` records a second and no more, by a clock of its own."""

    def __init__(self, speed, clock):
        self.epoch_ns, self._speed, self._clock = 0, speed, clock

    def status(self):
        at_s = self._clock()
        return LoadStatus(at_ns=int(at_s * NS), running=True, ok=int(min(at_s**2 * 200, at_s * self._speed)))


def test_a_flooded_log_ends_the_ramp_and_nobody_is_asked_meanwhile(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(climb.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(climb.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    asked, seen = [], []

    def behind():
        asked.append(now[0])
        return 0.0

    climb._watch(Flooded(1000.0, lambda: now[0]), seen, behind, 20.0, 8000.0)
    assert now[0] < 10
    assert gave_in(seen)
    assert max(asked) < now[0] - 2 * climb.LOOK_S
    assert 500 < sustained(seen) < 4000
