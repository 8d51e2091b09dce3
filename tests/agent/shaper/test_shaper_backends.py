"""The same behaviour, asked of every backend that this kernel has."""

from __future__ import annotations

import json
import statistics
import time

import pytest

from chaos.agent.shaper import Rule, ShaperError
from chaos.model import Burst, Impairment

pytestmark = [pytest.mark.real, pytest.mark.alone]

NOISE_MS = 15.0  # of a loaded machine; a wrong path is off by more
TRIES = 5  # noise only ever adds to a delay, and not every time


def takes(lab, source, target, asked_ms):
    """Whether packets are as late as asked, and no earlier; measured again when something else held them up."""
    for _ in range(TRIES):
        median_ms = lab.flow(source, target).median_ms
        if asked_ms - 0.5 <= median_ms <= asked_ms + NOISE_MS:
            return True
        if median_ms < asked_ms:
            return False
    return False


def rule(direction="in", peers=(), **impairment):
    return Rule(direction=direction, peers=peers, impairment=Impairment(**impairment))


@pytest.mark.parametrize("asked_ms", [20, 50])
def test_what_a_node_receives_is_delayed_and_what_it_sends_is_not(lab, shaper, asked_ms):
    shaper.set("n1", [rule(delay_s=asked_ms / 1000)])
    assert takes(lab, "n2", "n1", asked_ms)
    assert takes(lab, "n1", "n2", 0)


def test_what_a_node_sends_is_delayed_and_what_it_receives_is_not(lab, shaper):
    shaper.set("n1", [rule("out", delay_s=0.05)])
    assert takes(lab, "n1", "n2", 50)
    assert takes(lab, "n2", "n1", 0)


def test_both_directions_have_their_own_delay(lab, shaper):
    shaper.set("n1", [rule("out", delay_s=0.03), rule("in", delay_s=0.07)])
    assert takes(lab, "n1", "n2", 30)
    assert takes(lab, "n2", "n1", 70)


def test_a_path_between_two_shaped_nodes_has_both_delays(lab, shaper):
    shaper.set("n1", [rule("out", delay_s=0.03)])
    shaper.set("n2", [rule("in", delay_s=0.04)])
    assert takes(lab, "n1", "n2", 70)


def test_a_peer_that_is_not_named_is_spared(lab, shaper):
    shaper.set("n1", [rule("in", (lab.address("n2"),), delay_s=0.05)])
    assert takes(lab, "n2", "n1", 50)
    assert takes(lab, "n3", "n1", 0)
    assert takes(lab, "n2", "n3", 0)


def test_the_first_rule_that_matches_wins(lab, shaper):
    spared = Rule(direction="in", peers=(lab.address("n2"),))
    shaper.set("n1", [spared, rule(delay_s=0.05)])
    assert takes(lab, "n2", "n1", 0)
    assert takes(lab, "n3", "n1", 50)


def test_two_peers_have_two_delays(lab, shaper):
    near, far = lab.address("n2"), lab.address("n3")
    shaper.set("n1", [rule("out", (near,), delay_s=0.02), rule("out", (far,), delay_s=0.06)])
    assert takes(lab, "n1", "n2", 20)
    assert takes(lab, "n1", "n3", 60)


def test_jitter_spreads_the_delays(lab, shaper):
    shaper.set("n1", [rule(delay_s=0.06, jitter_s=0.02, distribution="normal")])
    delays = lab.flow("n2", "n1", count=400, gap_s=0.002).delays_ms
    assert 55 < statistics.median(delays) < 60 + 2 * NOISE_MS
    assert statistics.stdev(delays) > 12  # against about 0 without jitter


def test_ordered_jitter_never_lets_a_packet_overtake(lab, shaper):
    shaper.set("n1", [rule(delay_s=0.03, jitter_s=0.02, ordered=True)])
    sequence = lab.flow("n2", "n1", count=200, gap_s=0.002).sequence
    assert len(sequence) == 200
    assert sequence == sorted(sequence)


def test_jitter_reorders_without_it(lab, shaper):
    shaper.set("n1", [rule(delay_s=0.03, jitter_s=0.02)])
    sequence = lab.flow("n2", "n1", count=200, gap_s=0.002).sequence
    assert sequence != sorted(sequence)


def test_a_share_of_packets_is_lost_and_the_sender_is_not_told(lab, shaper):
    shaper.set("n1", [rule("out", loss=0.2)])
    flow = lab.flow("n1", "n2", count=2000, gap_s=0.0003)
    assert flow.lost_share == pytest.approx(0.2, abs=5 * (0.2 * 0.8 / 2000) ** 0.5)
    assert flow.refused == 0


def test_losses_come_in_bursts(lab, shaper):
    shaper.set("n1", [rule(burst=Burst(enter=0.03, leave=0.2))])
    gaps = lab.flow("n2", "n1", count=2500, gap_s=0.0003).gaps()
    assert len(gaps) > 10
    assert 3 < statistics.mean(gaps) < 8  # 1 / leave = 5


def test_a_share_of_packets_arrives_twice(lab, shaper, backend):
    doubling = [rule(duplicate=0.3)]
    if backend == "nfqueue":
        with pytest.raises(ShaperError, match="can't duplicate"):
            shaper.set("n1", doubling)
        return
    shaper.set("n1", doubling)
    flow = lab.flow("n2", "n1", count=1000, gap_s=0.0005)
    assert flow.lost_share == 0
    assert len(flow.arrivals) == pytest.approx(1300, abs=80)


def test_a_share_of_packets_overtakes_the_delayed_ones(lab, shaper):
    shaper.set("n1", [rule(delay_s=0.06, reorder=0.25)])
    delays = lab.flow("n2", "n1", count=600, gap_s=0.001).delays_ms
    early = [delay for delay in delays if delay < 40]
    assert len(early) / len(delays) == pytest.approx(0.25, abs=0.1)


def test_corrupted_datagrams_never_reach_the_application(lab, shaper):
    shaper.set("n1", [rule(corrupt=0.3)])
    flow = lab.flow("n2", "n1", count=1000, gap_s=0.0005)
    assert flow.damaged == 0
    assert 0.15 < flow.lost_share < 0.4  # netem also hits headers that no checksum covers


def test_a_stream_over_a_corrupting_path_arrives_whole(lab, shaper):
    connection = lab.connection("n2", "n1")
    shaper.set("n1", [rule(corrupt=0.02)])
    try:
        assert all(connection.request(50_000) for _ in range(20))
    finally:
        connection.close()


def test_a_rate_limits_a_stream(lab, shaper):
    connection = lab.connection("n2", "n1")
    shaper.set("n1", [rule(rate_bit_s=8e6)])
    try:
        begin = time.monotonic()
        assert connection.request(1_000_000)
        assert 0.7 < time.monotonic() - begin < 8  # 1 s; without the rate 0.01 s
    finally:
        connection.close()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_cut_is_total_one_way_only_and_over_when_it_is_taken_back(lab, shaper, direction):
    hurt, spared = ("n2", "n1"), ("n1", "n2")
    if direction == "out":
        hurt, spared = spared, hurt
    shaper.set("n1", [Rule(direction=direction, peers=(lab.address("n2"),), cut=True)])
    flow = lab.flow(*hurt)
    assert flow.lost_share == 1
    assert flow.refused == 0
    assert lab.flow(*spared).lost_share == 0
    assert lab.flow("n3", "n1").lost_share == 0
    shaper.set("n1", [])
    assert lab.flow(*hurt).lost_share == 0


def test_a_cut_from_everybody_can_spare_one(lab, shaper):
    shaper.set("n1", [Rule(direction="in", peers=(lab.address("n2"),)), Rule(direction="in", cut=True)])
    assert lab.flow("n2", "n1").lost_share == 0
    assert lab.flow("n3", "n1").lost_share == 1


def test_a_cut_and_a_delay_live_side_by_side(lab, shaper):
    shaper.set("n1", [Rule(direction="in", peers=(lab.address("n2"),), cut=True), rule(delay_s=0.05)])
    assert lab.flow("n2", "n1").lost_share == 1
    assert takes(lab, "n3", "n1", 50)


def test_nothing_of_an_earlier_rule_remains(lab, shaper):
    shaper.set("n1", [rule(delay_s=0.05, loss=0.5, reorder=0.5)])
    shaper.set("n1", [rule(delay_s=0.02)])
    assert takes(lab, "n2", "n1", 20)
    flow = lab.flow("n2", "n1")
    assert flow.lost_share == 0
    assert min(flow.delays_ms) > 15


def test_no_rules_are_the_kernels_own_path(lab, shaper):
    before = lab.snapshot()
    shaper.set("n1", [rule(delay_s=0.05), rule("out", loss=0.5)])
    shaper.set("n1", [])
    shaper.set("n1", [])
    assert takes(lab, "n2", "n1", 0)
    assert lab.flow("n2", "n1").lost_share == 0
    if shaper.backend == "netem":
        assert lab.snapshot() == before


def test_a_live_connection_survives_a_cut_and_two_hundred_changes(lab, shaper):
    connection = lab.connection("n2", "n1")
    changes = 200 if shaper.backend == "tap" else 10
    try:
        for number in range(changes):
            shaper.set("n1", [rule(delay_s=0.001 + number % 3 / 1000)] if number % 2 else [])
        shaper.set("n1", [Rule(direction="in", cut=True)])
        shaper.set("n1", [])
        assert connection.request(100_000)
    finally:
        connection.close()


def test_an_unknown_node_is_named_and_nothing_changes(lab, shaper):
    with pytest.raises(ShaperError, match="'nowhere'; there are n1, n2, n3"):
        shaper.set("nowhere", [rule(delay_s=0.05)])
    assert takes(lab, "n2", "n1", 0)


def test_the_state_counts_packets_and_is_json(lab, shaper):
    shaper.set("n1", [rule(loss=0.5)])
    before = shaper.state()["nodes"]["n1"]
    lab.flow("n2", "n1", count=200, gap_s=0.0005)
    state = json.loads(json.dumps(shaper.state()))
    assert state["alive"]
    assert state["backend"] == shaper.backend
    counts = state["nodes"]["n1"]
    assert counts["seen"] - before["seen"] >= 200
    assert 50 < counts["dropped"] - before["dropped"] < 150
    assert {"duplicated", "held", "overflow"} <= counts.keys()
