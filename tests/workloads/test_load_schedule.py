from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.clock import NS
from chaos.model import LoadStage
from chaos.shapes import pieces
from workloads.schedule import schedule

HOLD = (LoadStage(),)
rates = st.floats(min_value=1, max_value=20_000)
stages = st.lists(
    st.builds(
        LoadStage,
        ramp_s=st.floats(min_value=0, max_value=10).filter(lambda x: x == 0 or x > 1e-3),
        share=st.floats(min_value=0.05, max_value=1.5),
        hold_s=st.floats(min_value=0.1, max_value=10),
    ),
    min_size=1,
    max_size=4,
)


def arrivals(asked, count):
    return [asked.draw(-(10**15)) for _ in range(count)]


def area_until(parts, at_s):
    area = 0.0
    for part in parts:
        into = min(max(0.0, at_s - part.at_s), part.for_s)
        slope = (part.end_per_s - part.start_per_s) / part.for_s
        area += part.start_per_s * into + slope * into**2 / 2
    return area


def test_a_held_rate_is_evenly_spaced():
    assert arrivals(schedule(500, HOLD, patience_s=1), 4) == [2_000_000, 4_000_000, 6_000_000, 8_000_000]


def test_a_ramp_begins_slowly_and_ends_at_the_rate():
    due = [t / NS for t in arrivals(schedule(1000, (LoadStage(ramp_s=2),), patience_s=1), 2000)]
    assert sum(t <= 1 for t in due) == 250  # a quarter of the triangle's 1000
    assert sum(t <= 2 for t in due) == 1000
    assert due[-1] - due[-2] == pytest.approx(0.001)


@given(rate=rates, stages=stages)
def test_the_nth_arrival_is_due_when_the_area_under_the_rate_is_n(rate, stages):
    parts = pieces(rate, stages)
    for n, due in enumerate(arrivals(schedule(rate, stages, patience_s=1), 200), start=1):
        assert area_until(parts, due / NS) == pytest.approx(n, rel=1e-6, abs=1e-4 * max(1, rate / 1000))


@given(rate=rates, stages=stages, seed=st.integers())
def test_arrivals_never_go_back_in_time(rate, stages, seed):
    due = arrivals(schedule(rate, stages, patience_s=1, arrivals="poisson", seed=seed), 200)
    assert due == sorted(due)


@given(rate=st.floats(min_value=50, max_value=5000), processes=st.integers(min_value=1, max_value=8))
def test_processes_together_offer_the_whole_rate(rate, processes):
    parts = [schedule(rate, HOLD, patience_s=1, index=k, processes=processes) for k in range(processes)]
    together = sorted(itertools.chain.from_iterable(arrivals(part, 20) for part in parts))
    whole = arrivals(schedule(rate, HOLD, patience_s=1), 20 * processes)
    assert together == pytest.approx(whole, abs=2)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process():
    due = arrivals(schedule(1000, HOLD, patience_s=1, arrivals="poisson", seed=3), 20_000)
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert statistics.mean(gaps) == pytest.approx(1e6, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1e6, rel=0.05)


def test_the_seed_decides_poisson_arrivals():
    first, again, other = (schedule(100, HOLD, patience_s=1, arrivals="poisson", seed=s) for s in (1, 1, 2))
    assert arrivals(first, 50) == arrivals(again, 50) != arrivals(other, 50)


def test_an_overdue_arrival_is_drawn_late_and_keeps_its_due_time():
    asked = schedule(1000, HOLD, patience_s=1)
    assert asked.draw(500_000_000) == 1_000_000
    assert asked.dropped == 0


def test_what_waited_longer_than_patience_is_dropped_and_never_made_up():
    asked = schedule(1000, HOLD, patience_s=0.1)
    assert asked.draw(1_000_000_000) == 900_000_000  # 0.1 s ago: the oldest that still waits
    assert asked.dropped == 899
    assert asked.draw(1_000_000_000) == 901_000_000


def test_drops_are_counted_while_no_user_is_free():
    asked = schedule(1000, HOLD, patience_s=0.1)
    asked.settle(2_000_000_000)
    assert asked.dropped == 1899


@given(nows=st.lists(st.integers(min_value=0, max_value=3 * NS), max_size=60))
def test_every_due_arrival_is_drawn_or_dropped_or_still_waits(nows):
    asked = schedule(100, HOLD, patience_s=0.2)
    drawn = [asked.draw(now) for now in sorted(nows)]
    assert asked.drawn == len(drawn)
    assert drawn == sorted(set(drawn))
    asked.close(now := max(nows, default=0))
    late = sum(d <= now for d in drawn)
    assert late + asked.dropped == now // 10_000_000


def test_nothing_is_due_after_the_end():
    asked = schedule(1000, HOLD, patience_s=1)
    asked.end_ns = 3_500_000
    assert arrivals(asked, 5) == [1_000_000, 2_000_000, 3_000_000, None, None]


def test_stages_add_up_and_the_last_one_holds():
    parts = pieces(100, (LoadStage(ramp_s=1, share=0.5, hold_s=2), LoadStage(ramp_s=1, share=1.0, hold_s=1)))
    assert [(p.at_s, p.start_per_s, p.end_per_s) for p in parts] == [
        (0, 0, 50),
        (1, 50, 50),
        (3, 50, 100),
        (4, 100, 100),
    ]
    assert parts[-1].for_s == float("inf")
