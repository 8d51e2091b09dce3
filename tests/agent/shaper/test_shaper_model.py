"""The impairment model is tc-netem's: its shares, spreads and correlations, by properties and by statistics."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.agent.shaper.model import BUFFER_NS, NS, Line
from chaos.model import Burst, Impairment

MS = NS // 1000
shares = st.floats(0, 1)
impairments = st.builds(
    Impairment,
    delay_s=st.floats(0, 1),
    jitter_s=st.floats(0, 1),
    distribution=st.sampled_from(["uniform", "normal", "pareto"]),
    correlation=shares,
    loss=shares,
    duplicate=shares,
    reorder=shares,
    corrupt=shares,
    rate_bit_s=st.none() | st.floats(1e3, 1e10),
    ordered=st.booleans(),
    seed=st.integers(0, 1000),
)


def delays_ms(count=20_000, **asked):
    line = Line(Impairment(**asked))
    return [release / MS for _ in range(count) for release in line.releases(0, 100)]


def lag_one(values):
    return statistics.correlation(values[:-1], values[1:])


@given(impairments, st.lists(st.integers(0, 10**9), max_size=30).map(sorted))
def test_no_packet_leaves_before_it_came_and_none_more_than_twice(asked, times):
    line = Line(asked)
    for now in times:
        releases = line.releases(now, 1500)
        assert len(releases) <= 2
        assert all(release >= now for release in releases)


@given(impairments)
def test_equal_seeds_meet_equal_fates(asked):
    one, other = Line(asked), Line(asked)
    for now in range(0, 40 * MS, MS):
        assert one.releases(now, 200) == other.releases(now, 200)
        assert one.flips() == other.flips()


@given(st.floats(0, 0.1), st.floats(0, 0.1), st.integers(0, 99))
def test_ordered_packets_leave_in_the_order_in_which_they_came(delay_s, jitter_s, seed):
    line = Line(Impairment(delay_s=delay_s, jitter_s=jitter_s, ordered=True, seed=seed))
    releases = [line.releases(now, 100)[0] for now in range(0, 50 * MS, MS)]
    assert releases == sorted(releases)


@given(st.floats(0, 2))
def test_a_plain_delay_is_constant(delay_s):
    line = Line(Impairment(delay_s=delay_s))
    assert line.constant_ns == round(delay_s * NS)
    assert line.releases(7, 100) == (7 + line.constant_ns,)


@given(impairments)
def test_only_a_plain_delay_has_the_short_cut(asked):
    line = Line(asked)
    if line.constant_ns is not None:
        assert line.releases(5, 100) == (5 + line.constant_ns,)
        assert not line.corrupts


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_losses_have_their_share(share):
    line = Line(Impairment(loss=share))
    lost = sum(not line.releases(0, 100) for _ in range(20_000))
    assert lost / 20_000 == pytest.approx(share, abs=5 * (share * (1 - share) / 20_000) ** 0.5)
    assert line.lost == lost


def test_bursts_follow_gilbert_and_elliott():
    line = Line(Impairment(burst=Burst(enter=0.02, leave=0.2)))
    fates = [bool(line.releases(0, 100)) for _ in range(50_000)]
    runs = "".join("." if kept else "x" for kept in fates).replace(".", " ").split()
    assert fates.count(False) / len(fates) == pytest.approx(0.02 / 0.22, rel=0.1)
    assert statistics.mean(map(len, runs)) == pytest.approx(1 / 0.2, rel=0.1)


def test_burst_losses_outside_a_burst_have_their_own_share():
    line = Line(Impairment(burst=Burst(enter=0.0, leave=1.0, loss_good=0.1)))
    lost = sum(not line.releases(0, 100) for _ in range(20_000))
    assert lost / 20_000 == pytest.approx(0.1, abs=0.012)


def test_uniform_jitter_has_its_bounds_and_deviation():
    delays = delays_ms(delay_s=0.05, jitter_s=0.01)
    assert min(delays) >= 40
    assert max(delays) <= 60
    assert statistics.stdev(delays) == pytest.approx(10 / 3**0.5, rel=0.03)


@pytest.mark.parametrize("distribution", ["normal", "pareto"])
def test_shaped_jitter_has_its_mean_and_deviation(distribution):
    delays = delays_ms(delay_s=0.05, jitter_s=0.01, distribution=distribution)
    assert statistics.mean(delays) == pytest.approx(50, abs=0.5)
    assert statistics.stdev(delays) == pytest.approx({"normal": 10, "pareto": 8.7}[distribution], rel=0.06)


def test_pareto_jitter_has_a_floor_and_a_long_tail():
    delays = sorted(delays_ms(delay_s=0.05, jitter_s=0.01, distribution="pareto"))
    assert delays[0] > 44
    assert delays[len(delays) // 2] == pytest.approx(47.2, abs=0.4)
    assert delays[-1] > 100


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("asked", [0.0, 0.25, 0.75])
def test_correlation_keeps_the_spread(distribution, asked):
    plain = delays_ms(delay_s=1, jitter_s=0.1, distribution=distribution)
    delays = delays_ms(delay_s=1, jitter_s=0.1, distribution=distribution, correlation=asked)
    assert lag_one(delays) == pytest.approx(asked, abs=0.03)
    assert statistics.stdev(delays) == pytest.approx(statistics.stdev(plain), rel=0.05)


def test_duplicates_reorderings_and_corruptions_have_their_shares():
    line = Line(Impairment(delay_s=0.05, duplicate=0.2, reorder=0.25, corrupt=0.3))
    releases = [line.releases(0, 100) for _ in range(10_000)]
    copies = [release for each in releases for release in each]
    assert len(copies) == pytest.approx(12_000, abs=250)
    assert copies.count(0) / len(copies) == pytest.approx(0.25, abs=0.025)
    assert sum(line.flips() for _ in range(10_000)) == pytest.approx(3000, abs=250)


def test_a_rate_spaces_packets_by_their_size():
    line = Line(Impairment(rate_bit_s=8e6))
    releases = [line.releases(0, 1000)[0] for _ in range(5)]
    assert releases == [MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS]


def test_a_rate_drops_what_would_wait_too_long():
    line = Line(Impairment(rate_bit_s=8e6))
    releases = [line.releases(0, 1000) for _ in range(1000)]
    kept = [release for release in releases if release]
    assert len(kept) == BUFFER_NS // MS + 1
    assert line.overflow == 1000 - len(kept)


def test_an_idle_rate_does_not_save_up():
    line = Line(Impairment(rate_bit_s=8e6))
    line.releases(0, 1000)
    assert line.releases(500 * MS, 1000) == (501 * MS,)


@given(st.binary(min_size=1, max_size=200), st.integers(0, 100))
def test_a_flip_changes_one_bit_behind_the_beginning(packet, begin):
    damaged = Line(Impairment(corrupt=1)).flip(packet, begin)
    changed = int.from_bytes(packet, "big") ^ int.from_bytes(damaged, "big")
    assert len(damaged) == len(packet)
    assert damaged[:begin] == packet[:begin]
    assert changed.bit_count() == (1 if len(packet) > begin else 0)
