import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.blast import holders, wanted
from chaos.errors import CapabilityError, SpecError
from chaos.faults.kill import Kill
from chaos.faults.latency import Latency
from chaos.faults.loss import Loss
from chaos.faults.partition import Partition
from chaos.faults.pause import Pause
from chaos.faults.replace import Replace
from chaos.faults.restart import Restart
from chaos.model import (
    Direction,
    Experiment,
    Load,
    LoadStage,
    NamedGate,
    Node,
    Selector,
    Span,
    StackSpec,
    Step,
    Topology,
)
from chaos.occurrences import lulls, occurrences, starts
from chaos.plan import GRACE_S, TickKind, chance, choose, describe, plan
from chaos.spec import load_text
from chaos.stacks import STACKS
from gates.latency import Latency as LatencyGate

MEMBERS = tuple(Node(name=f"etcd{n}", role="member", address=f"10.1.1.{n}", zone="ab"[n % 2]) for n in (1, 2, 3, 4, 5))
CLIENT = Node(name="client1", role="client", address="10.1.2.1")
FIVE = Topology(nodes=(*MEMBERS, CLIENT))
THREE = Topology(nodes=(*MEMBERS[:3], CLIENT))
MEMBER, LEADER = Selector(role="member"), Selector(role="leader")


def experiment(*steps: Step, **settings) -> Experiment:
    base = Experiment(
        name="e",
        stack=StackSpec(name="etcd", versions={"etcd": "3.5.35"}),
        load=Load(workload="kv", rate_per_s=100),
        duration_s=60,
        gates=(NamedGate(name="p99", gate=LatencyGate(limit_s=0.4, during=Span.STEADY), kind="latency"),),
        steps=steps,
    )
    return dataclasses.replace(base, **settings)


def step(name="s", at_s=8.0, for_s=4.0, on=MEMBER, fault=None, **more) -> Step:
    return Step(name=name, at_s=at_s, for_s=for_s, on=on, fault=fault or Pause(), **more)


def told(timeline) -> list[tuple[float, str, str, int]]:
    return [(tick.at_s, tick.kind.value, tick.step, tick.occurrence) for tick in timeline.ticks]


# ---------------------------------------------------------------- ticks


def test_a_step_is_an_inject_and_a_heal():
    assert told(plan(experiment(step()), THREE)) == [(8, "inject", "s", 0), (12, "heal", "s", 0)]


def test_without_steps_there_is_nothing_to_do():
    assert plan(experiment(), THREE).ticks == ()


def test_an_operation_ends_by_itself():
    timeline = plan(experiment(step(fault=Restart(timeout_s=20), for_s=0)), THREE)
    assert told(timeline) == [(8, "inject", "s", 0)]
    assert timeline.ticks[0].deadline_s == 20


def test_the_node_undoes_a_fault_only_after_the_heal_should_have_come():
    assert plan(experiment(step()), THREE).ticks[0].deadline_s == 4 + GRACE_S


def test_a_heal_comes_before_an_inject_of_its_instant():
    first, second = step("a", 8, 4), step("b", 12, 4)
    for order in ((first, second), (second, first)):
        assert [t[1:3] for t in told(plan(experiment(*order), THREE))] == [
            ("inject", "a"),
            ("heal", "a"),
            ("inject", "b"),
            ("heal", "b"),
        ]


def test_instants_that_are_equal_on_paper_are_equal_here():
    # 8.1 + 0.2 is 8.299999999999999 in binary
    ticks = plan(experiment(step("a", 8.1, 0.2), step("b", 8.3, 0.2)), THREE).ticks
    assert ticks[1].at_s == ticks[2].at_s
    assert [tick.kind for tick in ticks[1:3]] == [TickKind.HEAL, TickKind.INJECT]


def test_a_repeated_step_happens_until_its_end():
    repeated = step(at_s=6, for_s=1, every_s=2, until_s=12)
    assert [t[0] for t in told(plan(experiment(repeated), THREE)) if t[1] == "inject"] == [6, 8, 10]
    assert [t[3] for t in told(plan(experiment(repeated), THREE)) if t[1] == "heal"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("at_s", "every_s", "until_s", "times"),
    [
        (6, 2, 12, 3),
        (6, 2, 12.5, 4),
        (6, 2, 7, 1),
        (0, 0.1, 1, 10),
        (0, 0.3, 0.9, 3),
        (6, 2, 230, 112),
        (5, None, None, 1),
    ],
)
def test_no_occurrence_begins_at_or_after_until(at_s, every_s, until_s, times):
    repeated = step(at_s=at_s, for_s=0.1, every_s=every_s, until_s=until_s)
    assert starts(repeated) == times
    assert all(one.start_s < (until_s or 60) for one in occurrences(repeated))


seconds = st.integers(min_value=0, max_value=400).map(lambda n: n / 10)


@st.composite
def steps(draw):
    at_s, for_s = draw(seconds), draw(st.integers(1, 50)) / 10
    every_s = draw(st.none() | st.integers(1, 50).map(lambda n: for_s + n / 10))
    number = draw(st.integers(1, 3))
    fault = draw(st.sampled_from([Pause(), Kill(), Partition(), Latency(delay_s=0.05), Restart(timeout_s=5)]))
    return Step(
        name="",
        at_s=at_s,
        for_s=0.0 if isinstance(fault, Restart) else for_s,
        every_s=every_s,
        until_s=None if every_s is None else at_s + every_s * number,
        on=draw(
            st.sampled_from([MEMBER, LEADER, Selector(role="member", count=2), Selector(role="member", share=0.4)])
        ),
        fault=fault,
    )


@st.composite
def step_lists(draw):
    found = draw(st.lists(steps(), max_size=4))
    return [dataclasses.replace(one, name=f"s{n}") for n, one in enumerate(found)]


@given(step_lists())
@settings(deadline=None)
def test_ticks_are_in_order_and_heals_come_first(found):
    ticks = plan(experiment(*found), FIVE).ticks
    keys = [(tick.at_s, tick.kind is TickKind.INJECT) for tick in ticks]
    assert keys == sorted(keys)


@given(step_lists())
@settings(deadline=None)
def test_every_inject_has_its_heal_and_it_comes_later(found):
    timeline = plan(experiment(*found), FIVE)
    by_name = {one.name: one for one in found}
    heals = {(t.step, t.occurrence): t for t in timeline.ticks if t.kind is TickKind.HEAL}
    injects = [t for t in timeline.ticks if t.kind is TickKind.INJECT]
    assert len({(t.step, t.occurrence) for t in injects}) == len(injects) == sum(starts(one) for one in found)
    for tick in injects:
        if by_name[tick.step].fault.momentary:
            assert (tick.step, tick.occurrence) not in heals
        else:
            assert heals.pop((tick.step, tick.occurrence)).at_s > tick.at_s
            assert tick.deadline_s > by_name[tick.step].for_s
    assert not heals


@given(step_lists(), st.floats(0.01, 1))
@settings(deadline=None)
def test_the_blast_radius_is_never_exceeded(found, limit):
    planned = experiment(*found, blast_radius={"member": limit})
    try:
        timeline = plan(planned, FIVE)
    except SpecError as error:
        assert "at once" in str(error)  # noqa: PT017 refusing is right too
        return
    by_name, in_force = {one.name: one for one in found}, {}
    for tick in timeline.ticks:
        key = (tick.step, tick.occurrence)
        if tick.kind is TickKind.HEAL:
            del in_force[key]
        elif not by_name[tick.step].fault.momentary:
            chosen = choose(by_name[tick.step].on, MEMBERS, chance(planned.seed, *key))
            in_force[key] = {node.name for node in chosen}
        assert len(set().union(*in_force.values())) <= limit * 5 + 1e-6


def told_lulls(*steps, end_s=60.0):
    return [(one.step.name, since_s, until_s) for one, since_s, until_s in lulls(steps, end_s)]


def test_after_a_fault_there_is_a_lull_until_the_next_one_or_the_end():
    assert told_lulls(step("a", 8, 4), step("b", 20, 4)) == [("a", 12, 20), ("b", 24, 60)]
    assert told_lulls(step("a", 8, 1, every_s=2, until_s=12)) == [("a", 9, 10), ("a", 11, 60)]


def test_there_is_no_lull_while_another_fault_is_in_force():
    assert told_lulls(step("a", 8, 4), step("b", 10, 10)) == [("b", 20, 60)]
    assert told_lulls(step("long", 8, 20), step("a", 10, 1), step("b", 14, 1)) == [("long", 28, 60)]
    assert told_lulls(step("a", 8, 4), step("b", 12, 4)) == [("b", 16, 60)]


@given(step_lists())
@settings(deadline=None)
def test_a_lull_is_free_of_faults(found):
    every = [one for each in found for one in occurrences(each)]
    for _, since_s, until_s in lulls(found, 1000.0):
        assert since_s <= until_s
        assert not [one for one in every if one.start_s < until_s and one.end_s > since_s]


# ---------------------------------------------------------------- who is hit


@pytest.mark.parametrize(
    ("selector", "candidates", "number"),
    [
        (Selector(role="m"), 3, 1),
        (Selector(role="m", count=2), 3, 2),
        (Selector(role="m", share=1.0), 3, 3),
        (Selector(role="m", share=0.34), 3, 2),
        (Selector(role="m", share=1 / 3), 3, 1),
        (Selector(role="m", share=0.1), 10, 1),
        (Selector(role="m", share=0.3), 10, 3),
        (Selector(role="m", share=0.01), 3, 1),
    ],
)
def test_a_share_is_rounded_up_but_not_by_float_noise(selector, candidates, number):
    assert wanted(selector, candidates) == number


@given(st.integers(), st.text(max_size=5), st.integers(0, 200), st.permutations(MEMBERS))
@settings(deadline=None)
def test_the_choice_depends_on_seed_step_and_occurrence_and_on_nothing_else(seed, name, occurrence, order):
    two = Selector(role="member", count=2)
    chosen = choose(two, MEMBERS, chance(seed, name, occurrence))
    assert choose(two, order, chance(seed, name, occurrence)) == chosen
    assert len(set(chosen)) == 2


def test_the_choice_of_a_known_seed_stays_what_it_is():
    # a change here would make recorded runs impossible to repeat
    picks = [choose(MEMBER, MEMBERS, chance(7, "crash", n))[0].name for n in range(8)]
    assert picks == ["etcd1", "etcd2", "etcd3", "etcd5", "etcd1", "etcd5", "etcd3", "etcd3"]


def test_every_candidate_is_chosen_sometime():
    assert {choose(MEMBER, MEMBERS, chance(1, "s", n)) for n in range(100)} == {(node,) for node in MEMBERS}


def test_too_few_candidates_are_none():
    assert choose(Selector(role="follower", count=3), MEMBERS[:2], random.Random(1)) == ()
    assert choose(LEADER, (), random.Random(1)) == ()


def test_a_zone_narrows_the_choice():
    chosen = choose(Selector(role="member", zone="a", share=1.0), MEMBERS, random.Random(1))
    assert {node.zone for node in chosen} == {"a"}
    assert len(chosen) == 2


def test_a_found_role_can_be_held_by_anybody_but_clients():
    assert holders(LEADER, FIVE) == MEMBERS
    assert holders(Selector(role="client"), FIVE) == (CLIENT,)


# ---------------------------------------------------------------- what is refused


def refusal(planned: Experiment, topology: Topology = THREE) -> tuple[str, ...]:
    with pytest.raises(SpecError) as error:
        plan(planned, topology)
    return error.value.problems


def test_more_victims_than_nodes_are_refused():
    (said,) = refusal(experiment(step(on=Selector(role="member", count=4), fault=Pause())))
    assert said == "e:1:1: 4 members asked for, and there are 3; write count: 3 or less"


def test_a_zone_without_nodes_is_refused():
    (said,) = refusal(experiment(step(on=Selector(role="member", zone="c"))))
    assert said == "e:1:1: no node can be member in zone c; there are a, b"


def test_a_partition_from_nobody_is_refused():
    (said,) = refusal(experiment(step(on=Selector(role="member", count=3), fault=Partition())))
    assert "nobody is left to keep etcd1 from" in said


def test_a_partition_must_be_possible_whoever_is_chosen():
    (said,) = refusal(experiment(step(on=LEADER, fault=Partition(from_=("etcd3",)))))
    assert "nobody is left to keep etcd3 from" in said


@pytest.mark.parametrize(
    ("fault", "would"), [(Kill(), ""), (Partition(), "from: client"), (Latency(delay_s=0.05), "peers: client")]
)
def test_a_client_is_no_victim(fault, would):
    (said,) = refusal(experiment(step(on=Selector(role="client"), fault=fault)))
    assert said.startswith("e:1:1: a client holds none of the data")
    assert said.endswith(would or "aim at the stack's own nodes")


def test_clients_are_no_quorum():
    cut = step(fault=Partition(from_=("client",)))
    assert [hit.role for hit in plan(experiment(cut), THREE).hits] == ["member"]
    (said,) = refusal(experiment(cut, blast_radius={"client": 1.0}))
    assert said == "e:1:1: a client is never hit, so nothing is to be limited; leave it out"


def test_a_role_of_the_blast_radius_must_exist():
    (said,) = refusal(experiment(step(), blast_radius={"members": 0.5}))
    assert said == "e:1:1: no node has the role 'members'; did you mean 'member'?"


def test_two_of_three_exceed_a_third():
    overlapping = (step("a", 8, 8), step("b", 12, 8, on=LEADER))
    (said,) = refusal(experiment(*overlapping, blast_radius={"member": 0.34}))
    assert said == (
        "e:1:1: the steps hit 2 of 3 members at once, at 12s, and the limit 34% allows 1;"
        " hit fewer, move the steps apart, or write 67%"
    )


def test_steps_that_only_touch_do_not_overlap():
    planned = experiment(step("a", 8, 4), step("b", 12, 4), blast_radius={"member": 0.34})
    assert [hit.count for hit in plan(planned, THREE).hits] == [1]


def test_an_operation_counts_one_at_a_time_and_for_its_whole_timeout():
    everyone = Selector(role="member", share=1.0)
    rolling = step("roll", 8, 0, on=everyone, fault=Replace(version="3.5.35", timeout_s=5))
    assert [hit.count for hit in plan(experiment(rolling), THREE).hits] == [1]
    assert [hit.count for hit in plan(experiment(rolling, step("b", 22, 4)), THREE).hits] == [2]
    assert [hit.count for hit in plan(experiment(rolling, step("b", 23, 4)), THREE).hits] == [1]


def test_places_in_the_file_are_named():
    text = "chaosgate: 1\nsteps:\n  - at: 8s\n    on: {role: member, count: 4}\nblast-radius:\n  member: 10%\n"
    planned = experiment(
        step(on=Selector(role="member", count=4)), blast_radius={"member": 0.1}, text=text, path="x.yaml"
    )
    assert [said.split(": ")[0] for said in refusal(planned)] == ["x.yaml:4:9", "x.yaml:6:11"]


# ---------------------------------------------------------------- quorum, size, time


@pytest.mark.parametrize(
    ("fault", "count", "holds"),
    [(Pause(), 1, True), (Pause(), 2, False), (Latency(delay_s=0.05), 2, True), (Loss(share=0.05), 3, True)],
)
def test_a_quorum_is_lost_only_by_faults_that_take_nodes_away(fault, count, holds):
    (hit,) = plan(experiment(step(on=Selector(role="member", count=count), fault=fault)), THREE).hits
    assert (hit.count, hit.quorum, hit.quorum_holds) == (count, 2, holds)


def test_the_total_counts_calibration_ramp_warm_up_and_drain():
    stages = (LoadStage(ramp_s=2, share=0.5, hold_s=3), LoadStage(ramp_s=1))
    load = Load(workload="kv", calibrated_share=0.6, stages=stages)
    assert plan(experiment(load=load, warm_up_s=3), THREE).total_s == 4 + 2 + 3 + 1 + 3 + 60 + 5


def test_twice_the_rate_is_about_twice_the_recording():
    small, large = (plan(experiment(load=Load(workload="kv", rate_per_s=r)), THREE) for r in (1000, 2000))
    assert large.recording_bytes == 2 * small.recording_bytes


# ---------------------------------------------------------------- described


def test_the_description_says_when_who_how_and_how_long():
    cut = step("cut", 8, 8, on=LEADER, fault=Partition(direction=Direction.BOTH))
    said = describe(
        plan(experiment(cut, about="Why not.", blast_radius={"member": 0.34}), THREE),
        lambda _: "nft",
        voters=["member"],
    )
    for part in (
        "Why not.",
        "etcd 3.5.35",
        "3 members, 1 client",
        "8s  inject  cut: partition on 1 leader, asked of the stack when it fires; it can be etcd1, etcd2, etcd3",
        "16s  heal    cut; else the node heals itself at 21s",
        "cut: cut by nft",
        "1 of 3 members (33%), at 8s; limit 34%; 2 left of the 2 that make a majority",
        "p99 (latency: limit 400ms, percentile 99), during steady",
    ):
        assert part in said


def test_one_is_told_of_as_one():
    alone = Topology(nodes=(MEMBERS[0], CLIENT))
    said = describe(plan(experiment(step(), load=Load(workload="kv", rate_per_s=100, users=1)), alone))
    for part in ("1 member, 1 client", "1 user,", "1 of 1 member (100%)"):
        assert part in said


def test_the_description_says_what_is_known_of_versions_and_of_the_disk():
    known = ["etcd 3.4.23: a package", "etcd 3.5.35: a module, at hand"]
    said = describe(plan(experiment(), THREE), versions=known, recording="about 1 MB; 2 GB are free in runs")
    assert "  version    etcd 3.4.23: a package\n             etcd 3.5.35: a module, at hand\n" in said
    assert "  recording  about 1 MB; 2 GB are free in runs\n" in said
    unknown = describe(plan(experiment(stack=StackSpec(name="etcd")), THREE))
    assert "  version    the default of etcd\n" in unknown


def test_the_description_says_that_the_load_lies():
    load = Load(workload="kv", rate_per_s=100, settings={"sabotage": "stale-reads"})
    assert "SABOTAGED" not in describe(
        plan(experiment(load=dataclasses.replace(load, settings={"sabotage": ""})), THREE)
    )
    said = describe(plan(experiment(load=load), THREE))
    assert "\n             SABOTAGED: stale-reads; such a run promotes nothing\n" in said


def test_the_description_says_that_a_quorum_is_lost():
    planned = plan(experiment(step(on=Selector(role="member", count=2))), THREE)
    said = describe(planned, voters=["member"])
    assert "NO QUORUM from 8s" in said
    assert "2 of 3 members (67%), at 8s; no limit given; 1 left\n" in describe(planned, voters=["broker"])
    assert "2 members, drawn by the seed from etcd1, etcd2, etcd3" in said


def test_repeats_are_one_entry():
    said = describe(plan(experiment(step(at_s=6, for_s=1, every_s=2, until_s=50)), THREE))
    assert "22 times, every 2s, the last at 48s" in said
    assert said.count("inject") == 1


def test_what_the_target_cannot_do_is_said():
    def none(_):
        raise CapabilityError("no CAP_NET_ADMIN")

    assert "nothing here: no CAP_NET_ADMIN" in describe(plan(experiment(step()), THREE), none)


def test_operations_are_the_stacks_own():
    said = describe(plan(experiment(step(fault=Restart(), for_s=0, on=Selector(role="member", share=1.0))), THREE), str)
    assert "by the stack itself" in said
    assert "ends by itself, within 1m a node" in said
    assert "every member: etcd1, etcd2, etcd3" in said


def test_without_steps_the_description_says_so():
    assert "nothing is broken" in describe(plan(experiment(), THREE))


@pytest.mark.parametrize(
    ("on", "names"),
    [
        ("{running: any}", {"taskmanager1", "taskmanager2", "taskmanager3"}),
        ("leader", {"jobmanager1", "jobmanager2"}),
        ("{leader-of: in/0}", {"kafka1", "kafka2", "kafka3"}),
    ],
)
def test_a_role_that_is_found_can_be_held_by_nodes_of_its_kind_alone(on, names):
    text = (
        "chaosgate: 1\nname: e\nstack: streaming\nload: {records: {keys: 4}, rate: 10/s}\nduration: 30s\n"
        f"steps: [{{at: 5s, for: 5s, on: {on}, fault: pause}}]\ngates: [restarts]\n"
    )
    experiment = load_text(text, "x.yaml")
    nodes = STACKS["streaming"].nodes(experiment.stack.settings)
    assert {node.name for node in holders(experiment.steps[0].on, Topology(nodes=tuple(nodes)))} == names
