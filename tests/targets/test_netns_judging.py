"""Which paths a step hurts, what is sent over them, and what signs are read how. Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import fidelity
from chaos.agent import flow as meter
from chaos.fidelity import Flow
from chaos.model import Aimed, CpuQuota, Cut, Direction, Freeze, Impairment, Power, Proof, Shape, Signal
from chaos.targets.agents import probing, signs
from chaos.targets.agents.baseline import KEPT, Baseline
from chaos.targets.agents.paths import paths, touches

NODES = ("n1", "n2", "n3", "n4")
DELAY = Impairment(delay_s=0.05)
SHAPES = st.builds(
    lambda direction, peers: Shape(impairment=DELAY, direction=direction, peers=tuple(peers)),
    st.sampled_from(Direction),
    st.sets(st.sampled_from(NODES)),
)
CUTS = st.builds(
    lambda direction, peers: Cut(direction=direction, peers=tuple(peers)),
    st.sampled_from(Direction),
    st.sets(st.sampled_from(NODES), min_size=1),
)
OTHERS = st.sampled_from([Power(), Freeze(), Signal()])
AIMED = st.builds(
    lambda subject, action: Aimed(subject=subject, action=action), st.sampled_from(NODES), SHAPES | CUTS | OTHERS
)


@given(st.lists(AIMED, min_size=1, max_size=4), st.lists(AIMED, max_size=3))
def test_no_path_is_both_hurt_and_spared_whatever_is_in_force(mine, others):
    found = paths(mine, others, NODES)
    hurt = {(one.source, one.sink) for one in found.hurt}
    assert not hurt & set(found.spared)
    assert not any(touches(one, *pair) for one in [*mine, *others] for pair in found.spared)
    assert all(one.subjects <= {aimed.subject for aimed in mine} and one.subjects for one in found.hurt)


@given(st.lists(AIMED, min_size=1, max_size=2))
def test_everybody_who_hurts_a_path_has_one_measured(mine):
    measured = {subject for one in paths(mine, [], NODES).hurt for subject in one.subjects}
    pairs = [(a, b) for a in NODES for b in NODES if a != b]
    assert measured == {one.subject for one in mine if any(touches(one, *pair) for pair in pairs)}


@pytest.mark.parametrize("action", [Shape(impairment=DELAY, direction=Direction.BOTH), Cut(peers=("m0",))])
def test_of_a_great_many_subjects_each_has_a_path_measured(action):
    nodes = [f"m{i}" for i in range(40)]
    mine = [Aimed(subject=node, action=action) for node in nodes[1:]]
    measured = {subject for one in paths(mine, [], nodes).hurt for subject in one.subjects}
    assert measured == set(nodes[1:])


def test_a_shape_inwards_spares_the_way_out_and_the_other_peers():
    found = paths([Aimed(subject="n1", action=Shape(impairment=DELAY, peers=("n2",)))], [], NODES)
    assert [(one.source, one.sink) for one in found.hurt] == [("n2", "n1")]
    assert set(found.spared) == {("n3", "n1"), ("n1", "n2"), ("n2", "n3")}


def test_two_steps_on_one_path_are_judged_together():
    mine = [Aimed(subject="n1", action=Shape(impairment=DELAY))]
    others = [Aimed(subject="n2", action=Shape(impairment=DELAY, direction=Direction.OUT))]
    by_pair = {(one.source, one.sink): one for one in paths(mine, others, NODES).hurt}
    assert by_pair["n2", "n1"].impairments == (DELAY, DELAY)
    assert by_pair["n3", "n1"].impairments == (DELAY,)
    cut = [Aimed(subject="n1", action=Power())]
    assert all(one.cut for one in paths(mine, cut, NODES).hurt)


@given(st.lists(AIMED, min_size=1, max_size=4))
def test_all_flows_together_stay_within_what_the_meter_can_send(mine):
    plan = probing.plan([one.action for one in mine], paths(mine, [], NODES))
    flows, tail_s = probing.flows_of(plan)
    assert sum(flow["per_s"] for flow in flows) <= probing.ALL_PER_S * 1.01
    assert tail_s >= fidelity.needed(Signal()).seconds - 1
    hurt = {(one.source, one.sink) for one in plan.paths.hurt}
    assert all(flow["packets"] >= plan.packets for flow in flows if (flow["source"], flow["sink"]) in hurt)


def test_a_watch_is_a_few_packets_each_second():
    mine = [Aimed(subject="n1", action=Cut(peers=("n2", "n3", "n4")))]
    flows, _ = probing.watch_flows(probing.plan([mine[0].action], paths(mine, [], NODES)))
    assert sum(flow["packets"] for flow in flows) <= 100


def flow(source, sink, delay_ms, n=120, sent=None) -> Flow:
    delays = np.linspace(delay_ms, delay_ms + 0.05, n)
    return Flow(source=source, sink=sink, sent=sent or n, received=n, delays_ms=delays)


class Quiet:
    def of(self, source, sink):
        return flow(source, sink, 0.05)


def judged(got):
    mine = [Aimed(subject="n1", action=Shape(impairment=DELAY, peers=("n2",)))]
    plan = probing.plan([mine[0].action], paths(mine, [], NODES))
    return plan.judge(Quiet(), {(one.source, one.sink): one for one in got}).of("n1")


def test_the_hurt_path_delayed_and_the_others_not_is_a_confirmation():
    others = [flow("n3", "n1", 0.05), flow("n1", "n2", 0.05), flow("n2", "n3", 0.05)]
    assert fidelity.proof(judged([flow("n2", "n1", 50.05), *others])) is Proof.CONFIRMED
    assert fidelity.proof(judged([flow("n2", "n1", 0.05), *others])) is Proof.MISMATCH
    others[0] = flow("n3", "n1", 50.05)
    assert fidelity.proof(judged([flow("n2", "n1", 50.05), *others])) is Proof.MISMATCH


OTHERS_BARE = [flow("n3", "n1", 0.05), flow("n1", "n2", 0.05), flow("n2", "n3", 0.05)]


@pytest.mark.parametrize("absent", [0, 1])
def test_a_path_of_which_the_meter_tells_nothing_leaves_doubt(absent):
    told = [flow("n2", "n1", 50.05), *OTHERS_BARE]
    del told[absent]
    assert fidelity.proof(judged(told)) is Proof.INCONCLUSIVE


def test_a_healed_path_of_which_the_meter_tells_nothing_leaves_doubt():
    mine = [Aimed(subject="n1", action=Shape(impairment=DELAY, peers=("n2",)))]
    plan = probing.plan([mine[0].action], paths(mine, [], NODES))
    assert fidelity.proof(plan.judge_gone(Quiet(), {}).of("n1")) is Proof.INCONCLUSIVE
    assert fidelity.proof(plan.judge_gone(Quiet(), {("n2", "n1"): flow("n2", "n1", 0.05)}).of("n1")) is Proof.CONFIRMED


def test_a_watch_expects_no_packets_where_it_sends_none():
    mine = [Aimed(subject="n1", action=Shape(impairment=Impairment(rate_bit_s=1e6), peers=("n2",)))]
    plan = probing.plan([mine[0].action], paths(mine, [], NODES))
    sent = {(one["source"], one["sink"]) for one in probing.watch_flows(plan)[0]}
    assert ("n2", "n1") not in sent
    assert plan.judge(Quiet(), {pair: flow(*pair, 0.05) for pair in sent}, watch=True).on("n1") == []
    assert plan.judge(Quiet(), {pair: flow(*pair, 0.05) for pair in sent}).on("n1") != []


def lost(refused=0) -> Flow:
    return Flow(source="n2", sink="n1", sent=60, received=0, refused=refused)


@pytest.mark.parametrize(
    ("action", "refused", "proof"),
    [
        (Cut(peers=("n2",)), 0, Proof.CONFIRMED),
        (Cut(peers=("n2",)), 1, Proof.INCONCLUSIVE),
        (Power(), 60, Proof.CONFIRMED),
    ],
)
def test_packets_that_never_left_prove_no_cut_but_where_there_is_no_power(action, refused, proof):
    mine = [Aimed(subject="n1", action=action)]
    plan = probing.plan([action], paths(mine, [], ("n1", "n2")))
    got = {("n2", "n1"): lost(refused), ("n1", "n2"): replace(lost(), source="n1", sink="n2")}
    assert fidelity.proof(plan.judge(Quiet(), got).of("n1")) is proof
    assert fidelity.proof(fidelity.judge(action, lost(), lost(refused))) is proof


def test_refused_packets_of_several_rounds_are_added_and_read_from_the_meter():
    assert fidelity.together([lost(2), lost(3)]).refused == 5
    one = meter.Flow(0, meter.Asked(source="n2", sink="n1", packets=1, per_s=1.0), 0, sent=1, refused=1)
    assert Flow.read(one.result()).refused == 1


def test_a_bare_path_keeps_its_newest_packets():
    bare = Baseline()
    assert bare.of("a", "b").sent == 0
    for delay_ms in (5, 5, 1, 1, 1, 1, 1):
        bare.add([flow("a", "b", delay_ms, n=50)])
    assert KEPT <= bare.of("a", "b").sent < KEPT + 50
    assert bare.of("a", "b").delays_ms.max() < 2


# ---------------------------------------------------------------- signs


def row(**more):
    stat = {"state": "S", "cpu_ns": 10}
    return {
        "name": "etcd",
        "pid": 7,
        "starts": 1,
        "exit_code": None,
        "ended_ns": None,
        "started_ns": 5,
        "stat": stat,
    } | more


UNDO = {"subject": "n1", "processes": [row()]}
RUNS = {"processes": [row()]}


def signs_of(action, second, ports=(), first=RUNS) -> Proof:
    return fidelity.proof(signs.in_force(action, UNDO, first, second, ports))


def port(outcome):
    return [{"port": 2379, "outcome": outcome}]


@pytest.mark.parametrize(
    ("second", "outcome", "proof"),
    [
        (row(exit_code=-9, stat=None, ended_ns=9), "refused", Proof.CONFIRMED),
        (row(exit_code=-9, stat=None, ended_ns=9), "answered", Proof.MISMATCH),
        (row(exit_code=0, stat=None, ended_ns=9), "refused", Proof.MISMATCH),
        (row(starts=2), "answered", Proof.MISMATCH),
    ],
)
def test_a_kill_is_an_end_by_signal_9_and_a_refused_port(second, outcome, proof):
    assert signs_of(Signal(), {"processes": [second]}, port(outcome)) is proof


@pytest.mark.parametrize(
    ("last", "proof"),
    [
        (row(exit_code=-9, ended_ns=9), Proof.CONFIRMED),
        (row(exit_code=-9, ended_ns=9, starts=0), Proof.MISMATCH),  # of an earlier kill
        (None, Proof.MISMATCH),
    ],
)
def test_where_others_start_what_was_killed_its_end_was_seen_nevertheless(last, proof):
    assert signs_of(Signal(), {"processes": [row(starts=2, last=last)]}) is proof


def test_what_its_kubelet_started_anew_stands_still_no_longer():
    again = {"processes": [row(starts=2, last=None)]}
    assert fidelity.proof(signs.gone(Signal(signal="STOP"), UNDO, again)) is Proof.CONFIRMED
    assert fidelity.proof(signs.gone(Signal(signal="STOP"), UNDO, {"processes": [row(starts=2)]})) is Proof.MISMATCH


@pytest.mark.parametrize("action", [Signal(), Freeze(), CpuQuota(cores=0.1), Shape(impairment=Impairment(loss=0.5))])
def test_of_a_pod_that_is_gone_nothing_is_left(action):
    (one,) = signs.gone(action, UNDO, {"processes": [], "gone": True})
    assert (one.proof, one.name) == (Proof.CONFIRMED, "pod n1 is gone, and what was done to it")


@pytest.mark.parametrize(
    ("state", "cpu_ns", "frozen", "outcome", "proof"),
    [
        ("T", 10, None, "accepted", Proof.CONFIRMED),
        ("S", 10, True, "no connection", Proof.CONFIRMED),
        ("S", 10, None, "accepted", Proof.MISMATCH),
        ("T", 10, None, "answered", Proof.MISMATCH),
        ("T", 2_000_000, None, "accepted", Proof.MISMATCH),
    ],
)
def test_what_stands_still_has_a_stopped_state_no_cpu_time_and_a_silent_port(state, cpu_ns, frozen, outcome, proof):
    second = {"processes": [row(stat={"state": state, "cpu_ns": cpu_ns})], "frozen": frozen}
    assert signs_of(Freeze(), second, port(outcome)) is proof


@pytest.mark.parametrize(
    ("change", "proof"),
    [({}, Proof.CONFIRMED), ({"carrier": True}, Proof.MISMATCH), ({"node_up": True}, Proof.MISMATCH)],
)
def test_a_node_without_power_has_no_carrier_and_runs_nothing(change, proof):
    dark = {"processes": [row(stat=None)], "node_up": False, "port_up": False, "carrier": False}
    assert signs_of(Power(), {**dark, **change}) is proof


def test_a_dead_shaper_and_a_lost_rule_are_mismatches():
    shape = Shape(impairment=DELAY)
    assert signs_of(shape, {"shaper": {"alive": True}, "held": True}) is Proof.CONFIRMED
    assert signs_of(shape, {"shaper": {"alive": True}, "held": False}) is Proof.MISMATCH
    assert signs_of(shape, {"shaper": {"alive": False}, "held": False}) is Proof.MISMATCH


def test_a_rule_that_is_held_is_no_effect_where_no_packets_were_measured():
    seen = signs.in_force(Shape(impairment=DELAY), UNDO, {}, {"shaper": {"alive": True}, "held": True}, ())
    for action in (Shape(impairment=DELAY), Cut(peers=("n2",))):
        assert fidelity.proof([*seen, *signs.without_packets(action, ())]) is Proof.INCONCLUSIVE
        assert signs.without_packets(action, seen) == ()
    assert signs.without_packets(Freeze(), ()) == ()


def used(cpu_ms, *, cores=0.1, throttled=10):
    """What is seen one second after a look at which nothing had been used."""
    stat = {"state": "R", "cpu_ns": cpu_ms * 1_000_000}
    return {"at_ns": 10**9, "quota": "q", "cores": cores, "throttled": throttled, "processes": [row(stat=stat)]}


@pytest.mark.parametrize(
    ("second", "proof"),
    [
        (used(100), Proof.CONFIRMED),
        (used(60), Proof.CONFIRMED),  # other work of the machine's took the rest
        (used(100, throttled=0), Proof.INCONCLUSIVE),
        (used(200), Proof.MISMATCH),
        (used(900, cores=None), Proof.MISMATCH),
        (used(100, cores=0.2), Proof.MISMATCH),
    ],
)
def test_a_quota_is_set_and_kept_and_held_the_node_back(second, proof):
    first = {**used(0, throttled=0), "at_ns": 0}
    assert signs_of(CpuQuota(cores=0.1), second, first=first) is proof


@pytest.mark.parametrize(("quota", "proof"), [("-1", Proof.CONFIRMED), ("10000", Proof.MISMATCH)])
def test_a_quota_is_gone_when_the_file_says_what_it_said(quota, proof):
    undo = {**UNDO, "before": "-1"}
    assert fidelity.proof(signs.gone(CpuQuota(cores=0.1), undo, {**used(5), "quota": quota})) is proof


@pytest.mark.parametrize(
    ("action", "now", "proof"),
    [
        (Signal(), row(starts=2), Proof.CONFIRMED),
        (Signal(), row(starts=1), Proof.MISMATCH),
        (Signal(), row(exit_code=-9, stat=None), Proof.MISMATCH),
        (Signal(signal="STOP"), row(), Proof.CONFIRMED),
        (Freeze(), row(stat={"state": "T", "cpu_ns": 10}), Proof.MISMATCH),
        (Freeze(), row(starts=2), Proof.MISMATCH),
    ],
)
def test_a_healed_process_runs_as_it_should(action, now, proof):
    assert fidelity.proof(signs.gone(action, UNDO, {"processes": [now]})) is proof


def test_a_node_whose_power_is_back_is_seen_by_link_and_processes():
    back = {"processes": [row(starts=2)], "node_up": True, "port_up": True, "carrier": True}
    assert fidelity.proof(signs.gone(Power(), UNDO, back)) is Proof.CONFIRMED
    assert fidelity.proof(signs.gone(Power(), UNDO, {**back, "carrier": False})) is Proof.MISMATCH
