"""What is known before anything is touched, and what is refused then."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chaos.errors import CapabilityError, SpecError, UsageError
from chaos.faults.freeze import FrozenNode
from chaos.faults.replace import Replace
from chaos.model import Cut, Selector
from chaos.preflight import actions, describe, provide, refuse_what_cannot_run, target_kind, timeline
from chaos.session import Options
from chaos.stacks import STACKS, StackKind
from chaos.stage import Flags  # noqa: F401  # the doors import both: they must go together
from chaos.targets import TARGETS, TargetKind
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
    with pytest.raises(UsageError, match="there are: netns"):
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
    provide([experiment(step(fault=Replace(version="2.0"), for_s=0.0))], said.append)
    assert stack.asked == ["2.0"]
    assert said == ["fetched"]


def test_the_plan_names_the_mechanism_or_what_is_missing():
    text = describe(experiment(kill(), step(at_s=3.0, for_s=0.5)), "memory")
    assert "kill: signal by memory" in text
    assert "cut: cut by nothing here" in text


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
