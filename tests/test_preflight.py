"""What is known before anything is touched, and what is refused then."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest

from chaos.errors import CapabilityError, SpecError, UsageError
from chaos.faults.clock import WrongClock
from chaos.faults.cpu import ScarceCpu
from chaos.faults.disk import SickDisk
from chaos.faults.freeze import FrozenNode
from chaos.faults.power import PowerLoss
from chaos.faults.replace import Replace
from chaos.model import AbortWhen, Cut, Selector, StackSpec
from chaos.options import Options
from chaos.preflight import actions, describe, provide, refuse_what_cannot_run, target_kind, timeline, wants_of
from chaos.stacks import STACKS, StackKind
from chaos.stage import Flags  # noqa: F401  # the doors import both: they must go together
from chaos.targets import TARGETS, TargetKind, Wants
from chaos.targets.memory import MemoryTarget
from tests.staged import NODES, ToldStack, experiment, kill, step


@dataclass(slots=True)
class Provides(ToldStack):
    """A stack whose versions must be had first."""

    asked: list[str] = field(default_factory=list)

    def provide(self, versions, say):
        self.asked.extend(versions)
        say("fetched")


@pytest.fixture(autouse=True)
def stack(monkeypatch):
    made = Provides()
    kind = StackKind(settings_type=object, roles=("member",), operations=("replace",), make=lambda _: made)
    monkeypatch.setitem(STACKS, "memory", kind)
    lacking = MemoryTarget(NODES, lacks=frozenset({"freeze", "cut"}))
    monkeypatch.setitem(TARGETS, "memory", TargetKind(open=lambda *_, **__: None, backend=lacking.backend))
    return made


OPTIONS = Options(target="memory")


def test_an_unknown_target_is_refused_with_a_guess():
    with pytest.raises(UsageError, match="no such target 'netsn'; did you mean 'netns'"):
        target_kind("netsn")
    with pytest.raises(UsageError, match=r"there (is|are) .*netns$"):
        target_kind("???")


def test_what_the_target_can_do_is_let_through():
    refuse_what_cannot_run([experiment(kill())], OPTIONS)


def test_what_the_target_can_not_do_is_refused_by_name_all_at_once():
    two = [experiment(step(fault=FrozenNode()), name="a"), experiment(step(), kill(at_s=3.0, for_s=0.5), name="b")]
    with pytest.raises(CapabilityError) as refused:
        refuse_what_cannot_run(two, OPTIONS)
    lines = str(refused.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["a", "b"]
    assert "freeze" in lines[0]
    assert "cut" in lines[1]


def test_the_same_lack_is_told_once():
    with pytest.raises(CapabilityError) as refused:
        refuse_what_cannot_run([experiment(step(on=Selector(role="member", count=2)))] * 3, OPTIONS)
    assert len(str(refused.value).splitlines()) == 1


def test_a_step_that_no_node_fits_is_refused():
    with pytest.raises(SpecError, match="no node"):
        refuse_what_cannot_run([experiment(step(on=Selector(role="member", zone="nowhere")))], OPTIONS)


def test_a_blast_radius_is_kept_before_anything_is_touched():
    with pytest.raises(SpecError, match="hit 3 of 3 member"):
        timeline(experiment(kill(on=Selector(role="member", share=1.0)), blast_radius={"member": 0.34}))


def test_actions_are_those_of_as_many_victims_as_asked_for():
    one = experiment(step(on=Selector(role="member", count=2)))
    assert actions(one, timeline(one)) == [Cut(peers=("n3",)), Cut(peers=("n3",))]


def test_versions_that_steps_will_want_are_provided_first(stack):
    said = []
    provide([experiment(step(fault=Replace(version="2.0"), for_s=0.0))], "netns", said.append)
    assert stack.asked == ["2.0"]
    assert said == ["fetched"]


def test_the_plan_names_the_mechanism_or_what_is_missing(tmp_path):
    text = describe(experiment(kill(), step(at_s=3.0, for_s=0.5)), "memory", tmp_path)
    assert "kill: signal by memory" in text
    assert "cut: cut by nothing here" in text


# ---------------------------------------------------------------- versions


@dataclass(slots=True)
class Origins(Provides):
    """A stack that knows two versions, the first by default."""

    first: str = "1.0"

    def origin(self, version):
        asked = version or self.first
        if asked not in ("1.0", "2.0"):
            raise UsageError(f"memory {asked}: no such version; there are 1.0, 2.0")
        return f"memory {asked}: made up"


@pytest.fixture
def starts_with(monkeypatch):
    def begin(version):
        made = Origins(first=version)
        kind = StackKind(settings_type=object, roles=("member",), operations=("replace",), make=lambda _: made)
        monkeypatch.setitem(STACKS, "memory", kind)

    return begin


def upgrade(version: str):
    return step(fault=Replace(version=version), for_s=0.0)


TEXT = """\
chaosgate: 1
stack: {memory: {version: %s}}
about: 3.0
steps:
  - {at: 1s, on: member, fault: {replace: {version: 3.0}}}
"""


def test_the_plan_says_where_every_version_is_from(starts_with, tmp_path):
    starts_with("1.0")
    text = describe(experiment(upgrade("2.0")), "memory", tmp_path)
    assert "version    memory 1.0: made up\n             memory 2.0: made up\n" in text


def test_a_version_that_there_is_not_is_refused_at_its_place_in_the_file(starts_with):
    starts_with("0.9")
    spec = StackSpec(name="memory", versions={"memory": "0.9"})
    wrong = experiment(upgrade("3.0"), stack=spec, text=TEXT % "0.9", path="x.yaml")
    with pytest.raises(SpecError) as refused:
        refuse_what_cannot_run([wrong], OPTIONS)
    assert list(refused.value.problems) == [
        "x.yaml:2:27: memory 0.9: no such version; there are 1.0, 2.0",
        "x.yaml:5:53: memory 3.0: no such version; there are 1.0, 2.0",
    ]


def test_a_version_that_was_asked_for_by_hand_is_refused_as_such(starts_with):
    starts_with("1.0")
    wrong = experiment(upgrade("4.0"), text=TEXT % "1.0", path="x.yaml")
    with pytest.raises(UsageError, match=r"^--version: memory 4\.0: no such version; there are 1\.0, 2\.0$"):
        refuse_what_cannot_run([wrong, wrong], OPTIONS)


# ---------------------------------------------------------------- room for the recordings


def test_a_recording_that_the_disk_has_no_room_for_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("chaos.room.free_bytes", lambda _: 10**9)
    with pytest.raises(CapabilityError, match=r"2 GB must stay free, of 1 GB; make room"):
        refuse_what_cannot_run([experiment(kill(), abort_when=AbortWhen(free_disk_bytes=2 * 10**9))], OPTIONS)


# ---------------------------------------------------------------- limits that nobody would see


def test_a_lost_quorum_that_no_probe_would_tell_of_is_no_limit(monkeypatch):
    limited = experiment(kill(), abort_when=AbortWhen(quorum_lost_s=30))
    blind = r"staged: abort-when: quorum-lost: no probe of stack 'memory' tells of a quorum, .*; leave it out"
    with pytest.raises(CapabilityError, match=blind):
        refuse_what_cannot_run([limited], OPTIONS)
    monkeypatch.setitem(STACKS, "memory", replace(STACKS["memory"], readings=("quorum",)))
    refuse_what_cannot_run([limited], OPTIONS)


@dataclass(slots=True)
class Limits(Provides):
    """A stack that wants one node limited."""

    def cpu_limits(self):
        return {"etcd1": 0.5}


def test_a_cpu_limit_that_the_machine_can_not_keep_is_refused_before_anything_is_touched(monkeypatch):
    opened = []
    kind = TargetKind(open=opened.append, backend=lambda _: "", no_cpu_limit=lambda: "no cgroup here; run as root")
    monkeypatch.setitem(TARGETS, "memory", kind)
    limiting = StackKind(settings_type=object, roles=("member",), operations=(), make=lambda _: Limits())
    monkeypatch.setitem(STACKS, experiment(kill()).stack.name, limiting)
    with pytest.raises(CapabilityError, match=r"cpu-limit on etcd1.*run as root"):
        refuse_what_cannot_run([experiment(kill())], Options(target="memory"))
    assert not opened


# ---------------------------------------------------------------- what nodes are wanted with


def wants(fault, made=None):
    return wants_of(experiment(step(fault=fault)), made or Provides())


def test_nodes_are_plain_unless_a_fault_needs_more_of_them():
    assert wants(FrozenNode()) == Wants()
    assert wants(PowerLoss()) == Wants()


def test_what_a_fault_needs_every_node_but_clients_has_from_the_start():
    servers = frozenset(node.name for node in NODES if node.role != "client")
    assert wants(SickDisk(full=True)) == Wants(disks=servers)
    assert wants(PowerLoss(unsynced="lost")) == Wants(disks=servers)
    assert wants(WrongClock(ahead_s=30.0)) == Wants(clocks=servers)


def test_a_fault_of_cpu_time_gives_every_node_a_cgroup_and_keeps_the_limits_that_the_stack_has():
    unlimited = {node.name: math.inf for node in NODES}
    assert wants(ScarceCpu(cores=0.1)) == Wants(cpu=unlimited)
    assert wants(ScarceCpu(cores=0.1), Limits()) == Wants(cpu={**unlimited, "etcd1": 0.5})


def test_disks_and_clocks_are_provided_only_where_they_are_wanted(monkeypatch):
    said = []
    kind = replace(
        TARGETS["memory"], provide_disks=lambda _: said.append("disks"), provide_clocks=lambda _: said.append("clocks")
    )
    monkeypatch.setitem(TARGETS, "memory", kind)
    provide([experiment(kill())], "memory", print)
    assert said == []
    provide(
        [experiment(step(fault=SickDisk(full=True))), experiment(step(fault=WrongClock(ahead_s=1.0)))], "memory", print
    )
    assert said == ["disks", "clocks"]


def test_a_wrong_clock_is_refused_where_programs_ask_the_kernel_themselves(monkeypatch):
    monkeypatch.setitem(STACKS, "memory", replace(STACKS["memory"], no_clock="static programs; aim it elsewhere"))
    with pytest.raises(CapabilityError, match="clock: static programs; aim it elsewhere"):
        refuse_what_cannot_run([experiment(step(fault=WrongClock(ahead_s=1.0)))], OPTIONS)
    refuse_what_cannot_run([experiment(kill())], OPTIONS)
