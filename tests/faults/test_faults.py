import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chaos.faults
from chaos.faults import FAULTS
from chaos.faults.clock import WrongClock
from chaos.faults.cpu import ScarceCpu
from chaos.faults.disk import SickDisk
from chaos.faults.freeze import FrozenNode
from chaos.faults.impairing import Burst
from chaos.faults.kill import Kill
from chaos.faults.latency import Latency
from chaos.faults.loss import Loss
from chaos.faults.partition import Partition
from chaos.faults.pause import Pause
from chaos.faults.peers import grudge
from chaos.faults.power import PowerLoss
from chaos.faults.replace import Replace
from chaos.faults.rescale import Rescale
from chaos.faults.restart import Restart
from chaos.faults.resubmit import Resubmit
from chaos.faults.shape import Shaped
from chaos.faults.upgrade import Upgrade
from chaos.model import (
    ClockSkew,
    CpuQuota,
    Cut,
    Direction,
    DiskFault,
    Freeze,
    Node,
    Power,
    Shape,
    Signal,
    StackAction,
    Topology,
)
from chaos.tolerances import packets_for_share

MEMBERS = tuple(Node(name=f"etcd{n}", role="member", address=f"10.1.1.{n}") for n in (1, 2, 3))
CLIENTS = tuple(Node(name=f"client{n}", role="client", address=f"10.1.2.{n}") for n in (1, 2))
TOPOLOGY = Topology(nodes=MEMBERS + CLIENTS)
FIRST = MEMBERS[:1]

SETTINGS = {
    "latency": {"delay_s": 0.05},
    "loss": {"share": 0.05},
    "cpu": {"cores": 0.1},
    "disk": {"latency_s": 0.05},
    "clock": {"ahead_s": 30.0},
    "shape": {"duplicate": 0.1},
    "replace": {"version": "3.5.35"},
    "rescale": {"parallelism": 1},
    "upgrade": {"to": "v2"},
}
NOT_FAULTS = {"__init__", "peers", "impairing"}


def every_fault():
    return [pytest.param(name, cls(**SETTINGS.get(name, {})), id=name) for name, cls in FAULTS.items()]


# ---------------------------------------------------------------- the table


def test_the_folder_and_the_table_agree():
    folder = Path(chaos.faults.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - NOT_FAULTS == set(chaos.faults._OWN)


def test_each_fault_is_defined_in_the_file_of_its_name():
    assert {name: cls.__module__ for name, cls in chaos.faults._OWN.items()} == {
        name: f"chaos.faults.{name}" for name in chaos.faults._OWN
    }


@pytest.mark.parametrize(("name", "fault"), every_fault())
def test_settings_are_frozen(name, fault):
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError, AttributeError)):
        fault.peers = ()
    assert FAULTS[name] is type(fault)


@pytest.mark.parametrize(("name", "fault"), every_fault())
def test_each_fault_tells_the_planner_what_it_is(name, fault):
    assert isinstance(fault.momentary, bool), name
    assert isinstance(fault.takes_away, bool), name
    assert fault.touches <= {"processes", "packets", "links", "cpu", "disk", "clock"}, name


@pytest.mark.parametrize(("name", "fault"), every_fault())
def test_each_victim_is_aimed_at_once_and_nobody_else(name, fault):
    aimed = fault.aim(MEMBERS[:2], TOPOLOGY)
    assert [one.subject for one in aimed] == ["etcd1", "etcd2"], name


@pytest.mark.parametrize(("name", "fault"), every_fault())
def test_aiming_twice_gives_the_same(name, fault):
    assert fault.aim(MEMBERS, TOPOLOGY) == fault.aim(MEMBERS, TOPOLOGY) if name != "partition" else True
    assert fault.aim(FIRST, TOPOLOGY) == fault.aim(FIRST, TOPOLOGY)


# ---------------------------------------------------------------- actions


@pytest.mark.parametrize(
    ("fault", "action"),
    [
        (Kill(), Signal(signal="KILL")),
        (Kill(process="etcd", down_for_s=0.3), Signal(signal="KILL", process="etcd")),
        (Pause(), Signal(signal="STOP")),
        (FrozenNode(), Freeze()),
        (PowerLoss(unsynced="lost"), Power(unsynced_lost=True)),
        (SickDisk(latency_s=0.05), DiskFault(ops=("write", "sync"), delay_s=0.05, trials=20)),
        (SickDisk(full=True), DiskFault(ops=("write",), error="ENOSPC", trials=20)),
        (SickDisk(error="EIO", of=("read",)), DiskFault(ops=("read",), error="EIO", trials=20)),
        (WrongClock(ahead_s=30), ClockSkew(offset_s=30.0)),
        (WrongClock(behind_s=2.5), ClockSkew(offset_s=-2.5)),
        (ScarceCpu(cores=0.25), CpuQuota(cores=0.25)),
        (PowerLoss(), Power()),
        (Restart(), StackAction(operation="restart")),
        (Replace(version="3.5.35"), StackAction(operation="replace", arguments={"version": "3.5.35"})),
        (Upgrade(to="v2"), StackAction(operation="savepoint-upgrade", arguments={"to": "v2"})),
        (Rescale(parallelism=1), StackAction(operation="rescale", arguments={"parallelism": "1"})),
        (Resubmit(), StackAction(operation="resubmit", arguments={"start": "latest"})),
        (Partition(), Cut(peers=("etcd2", "etcd3"))),
        (Partition(from_=("all",)), Cut(peers=("etcd2", "etcd3", "client1", "client2"))),
        (Partition(from_=("client",)), Cut(peers=("client1", "client2"))),
        (Partition(from_=("etcd3",)), Cut(peers=("etcd3",))),
        (
            Partition(from_=("etcd3", "client"), direction=Direction.IN),
            Cut(peers=("etcd3", "client1", "client2"), direction=Direction.IN),
        ),
    ],
)
def test_settings_become_an_action(fault, action):
    (aimed,) = fault.aim(FIRST, TOPOLOGY)
    assert aimed.action == action


def test_less_cpu_time_than_the_kernel_can_give_is_refused():
    with pytest.raises(ValueError, match=r"cores: 0.001 is less than the kernel can give; write 0.01 or more"):
        ScarceCpu(cores=0.001)


@pytest.mark.parametrize("settings", [{}, {"ahead_s": 1.0, "behind_s": 1.0}])
def test_a_clock_is_either_ahead_or_behind(settings):
    with pytest.raises(ValueError, match="ahead: a clock is either ahead or behind"):
        WrongClock(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "latency: nothing would happen; write latency, error, or full: true"),
        ({"full": True, "share": 0.5}, "full: a disk that is full fails every write"),
        ({"error": "ENOSUCH"}, "error: no such errno 'ENOSUCH'; write e.g. EIO"),
        ({"latency_s": 1.0, "share": 0.0}, "share: none would be hit"),
        ({"latency_s": 1.0, "of": ("writes",)}, "of: no operation 'writes'; there are read, write, sync, meta"),
        ({"latency_s": 1.0, "of": ()}, "of: nothing would be hit"),
    ],
)
def test_a_sick_disk_that_can_not_be_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        SickDisk(**settings)


def test_a_share_of_a_disk_s_operations_is_tried_often_enough_to_be_told_from_its_half():
    (aimed,) = SickDisk(latency_s=0.5, share=0.05, of=("write",)).aim(FIRST, TOPOLOGY)
    assert 2 * aimed.action.trials >= packets_for_share(0.05)


def shape_of(fault) -> Shape:
    (aimed,) = fault.aim(FIRST, TOPOLOGY)
    assert isinstance(aimed.action, Shape)
    return aimed.action


def test_latency_delays_what_the_other_members_send_to_the_victim():
    shape = shape_of(Latency(delay_s=0.05, jitter_s=0.01, distribution="normal", correlation=0.25))
    assert (shape.direction, shape.peers) == (Direction.IN, ("etcd2", "etcd3"))
    assert (shape.impairment.delay_s, shape.impairment.jitter_s) == (0.05, 0.01)
    assert (shape.impairment.distribution, shape.impairment.correlation) == ("normal", 0.25)


def test_all_peers_are_everybody():
    assert shape_of(Latency(delay_s=0.05, peers=("all",))).peers == ()


def test_loss_is_independent_or_in_bursts():
    assert shape_of(Loss(share=0.05)).impairment.loss == 0.05
    burst = shape_of(Loss(burst=Burst(enter=0.01, leave=0.25))).impairment.burst
    assert (burst.enter, burst.leave, burst.loss_bad, burst.loss_good) == (0.01, 0.25, 1.0, 0.0)


def test_shape_carries_everything():
    settings = {
        "delay_s": 0.05,
        "jitter_s": 0.01,
        "loss": 0.1,
        "duplicate": 0.2,
        "reorder": 0.3,
        "corrupt": 0.4,
        "rate_bit_s": 1e6,
    }
    impairment = shape_of(Shaped(**settings, ordered=True)).impairment
    assert {name: getattr(impairment, name) for name in settings} == settings
    assert impairment.ordered


def test_victims_do_not_lose_in_step():
    aimed = Loss(share=0.05).aim(MEMBERS, TOPOLOGY)
    assert len({one.action.impairment.seed for one in aimed}) == 3


def test_when_all_are_victims_each_is_hurt_by_all_others():
    aimed = Loss(share=0.05).aim(MEMBERS, TOPOLOGY)
    assert [one.action.peers for one in aimed] == [("etcd2", "etcd3"), ("etcd1", "etcd3"), ("etcd1", "etcd2")]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Latency(delay_s=0), "delay: no delay is no fault"),
        (lambda: Latency(delay_s=0.01, jitter_s=0.02), "jitter: greater than the delay"),
        (Loss, "loss is said in one way"),
        (lambda: Loss(share=0.1, burst=Burst(enter=0.1, leave=0.1)), "loss is said in one way"),
        (lambda: Loss(share=0.0), "share: no loss is no fault"),
        (lambda: Burst(enter=0.0, leave=0.1), "enter: a burst that never enters"),
        (lambda: Burst(enter=0.1, leave=0.0), "leave: a burst that never leaves"),
        (Shaped, "nothing happens to packets here"),
        (lambda: Shaped(jitter_s=0.1, loss=0.1), "jitter: greater than the delay"),
        (lambda: Shaped(reorder=0.1), "reorder: some packets overtake"),
        (lambda: Shaped(rate_bit_s=0, loss=0.1), "rate: no packet passes"),
        (lambda: Shaped(loss=0.1, burst=Burst(enter=0.1, leave=0.1)), "burst: loss is said in one way"),
        (lambda: Kill(down_for_s=0), "down-for: dead for no time"),
    ],
)
def test_settings_without_effect_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------- the grudge


def test_the_victims_of_a_partition_stay_together():
    assert grudge(MEMBERS[:2], ["others"], TOPOLOGY, apart=True) == {"etcd1": ("etcd3",), "etcd2": ("etcd3",)}


def test_a_partition_that_leaves_nobody_on_the_other_side_is_refused():
    with pytest.raises(ValueError, match="nobody is left to keep etcd1 from"):
        Partition().aim(MEMBERS, TOPOLOGY)


def test_an_unknown_peer_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="'etcd4' is no role and no node; did you mean 'etcd3'"):
        Partition(from_=("etcd4",)).aim(FIRST, TOPOLOGY)


victims = st.lists(st.sampled_from(MEMBERS + CLIENTS), min_size=1, unique=True)
whom = st.lists(st.sampled_from(["others", "all", "member", "client", "etcd1", "client2"]), min_size=1)


@given(victims, whom, st.booleans())
@settings(deadline=None)
def test_a_grudge_never_holds_against_oneself_nor_against_ones_own_side(hit, words, apart):
    try:
        found = grudge(hit, words, TOPOLOGY, apart=apart)
    except ValueError:
        return
    assert set(found) == {node.name for node in hit}
    for name, peers in found.items():
        assert peers
        assert name not in peers
        assert not apart or not set(peers) & set(found)


@given(victims, whom)
@settings(deadline=None)
def test_a_cut_names_no_node_twice_and_keeps_the_topologys_order(hit, words):
    order = [node.name for node in TOPOLOGY.nodes]
    try:
        found = grudge(hit, words, TOPOLOGY, apart=True)
    except ValueError:
        return
    for peers in found.values():
        assert list(peers) == sorted(set(peers), key=order.index)
