"""A whole run without a machine: memory target, a stack and traffic that do as they are told, a clock in lockstep.

    run = staged(tmp_path, step("cut", at_s=1, for_s=1), told=by_kind(cut=Told(heal_hangs=True)))
    how = run.end()           # "complete", …, or the error's type
    run.story                 # what happened, a line an event

The clock goes on only when all that was begun has ended, or hangs because it was told to: so runs repeat exactly.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chaos.aiming import Aim
from chaos.clock import NS
from chaos.engine import Engine
from chaos.errors import ChaosgateError, UsageError
from chaos.faults.kill import Kill
from chaos.faults.partition import Partition
from chaos.model import (
    EventKind,
    Experiment,
    Load,
    LoadStage,
    LoadStatus,
    Node,
    Selector,
    StackSpec,
    Step,
)
from chaos.plan import plan
from chaos.recording import Recorder, Recording
from chaos.stage import Flags, Stage
from chaos.targets.memory import HANG_S, MemoryTarget
from chaos.testing import FakeClock
from tests.leftovers import await_true

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chaos.model import Aimed, Event, StackAction
    from chaos.stage import Progress

NODES = (
    *(Node(name=f"n{i}", role="member", address=f"192.0.2.{i}") for i in (1, 2, 3)),
    Node(name="client1", role="client", address="192.0.2.9"),
)
MEMBER = Selector(role="member")
WARM_UP_S, RAMP_S = 0.5, 0.2


def step(name="cut", at_s=1.0, for_s=1.0, on=MEMBER, fault=None, **more) -> Step:
    return Step(name=name, at_s=at_s, for_s=for_s, on=on, fault=fault or Partition(), **more)


def kill(name="kill", **more) -> Step:
    return step(name, fault=Kill(), **more)


def experiment(*steps: Step, **more) -> Experiment:
    base = Experiment(
        name="staged",
        stack=StackSpec(name="memory"),
        load=Load(workload="kv", rate_per_s=100, stages=(LoadStage(ramp_s=RAMP_S),)),
        duration_s=4.0,
        warm_up_s=WARM_UP_S,
        gates=(),
        steps=steps,
    )
    return replace(base, **more)


class Lockstep(FakeClock):
    """A fake clock that waits, in real time, until everything under way is settled."""

    settled: Callable[[], bool] = staticmethod(lambda: True)

    def sleep_until(self, at_ns: int) -> bool:
        await_true("everything that was begun has ended, or hangs as told", self.settled)
        return super().sleep_until(at_ns)


@dataclass(slots=True)
class ToldStack:
    """Implements Stack and FindsRole; each field says what it does when asked."""

    spec: StackSpec = field(default_factory=lambda: StackSpec(name="memory"))
    up_raises: Exception | None = None
    up_waits: bool = False
    leader: str = "n2"
    finding_raises: Exception | None = None
    operation_raises: Exception | None = None
    operation_hangs: bool = False
    speaks: bool = True
    hands_over: bool = True
    waiting: int = 0
    operated: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def nodes(self) -> Sequence[Node]:
        return NODES

    def up(self, target: MemoryTarget, folder: Path) -> None:
        if self.up_waits:
            self._hang()
        if self.up_raises:
            raise self.up_raises

    def endpoints(self):
        return {node.name: f"{node.address}:2379" for node in NODES[:3]}

    def versions(self):
        facts = {"version": "1.0" if self.speaks else "", "sha256": "aa", "path": "memory", "asked": "1.0"}
        return {node.name: facts for node in NODES[:3]}

    def operate(self, action: StackAction, node: str, timeout_s: float) -> str:
        if action.operation != "restart":
            raise UsageError(f"no operation {action.operation!r}; there is restart")
        if self.operation_hangs:
            self._hang()
        if self.operation_raises:
            raise self.operation_raises
        self.operated.append(node)
        return f"{node}: restarted"

    def hand_over(self, role: str, names: Sequence[str], timeout_s: float) -> str:
        if role != "leader" or not self.hands_over or self.leader == names[0]:
            return ""
        self.leader = names[0]
        return f"{names[0]} leads now"

    def find(self, role: str, argument: str, timeout_s: float) -> Sequence[Node]:
        if self.finding_raises:
            raise self.finding_raises
        if role != "leader":
            return [node for node in NODES if node.role == role]
        return [node for node in NODES if node.name == self.leader]

    def _hang(self) -> None:
        self.waiting += 1
        self.released.wait(HANG_S)

    @property
    def hanging(self) -> int:
        return 0 if self.released.is_set() else self.waiting


@dataclass(slots=True)
class ToldTraffic:
    """Implements LoadSource and Generator: a hundred operations a second, from the first second on."""

    clock: FakeClock
    bad_share: float = 0.0
    prepare_raises: Exception | None = None
    prepare_waits: threading.Event | None = None
    stop_raises: Exception | None = None
    dies_at_s: float | None = None  # after its epoch
    epoch_ns: int = 0
    stopped: int = 0

    def prepare(self) -> str:
        if self.prepare_waits:
            self.prepare_waits.wait(HANG_S)
        if self.prepare_raises:
            raise self.prepare_raises
        return "offering 100/s"

    def start(self, epoch_ns: int) -> ToldTraffic:
        self.epoch_ns = epoch_ns
        return self

    def status(self) -> LoadStatus:
        seconds = max(0, self.clock.now_ns() - self.epoch_ns) // NS
        dead = self.dies_at_s is not None and seconds >= self.dies_at_s
        bad = round(100 * seconds * self.bad_share)
        return LoadStatus(
            at_ns=self.epoch_ns + seconds * NS,
            running=not dead,
            why="it was killed" if dead else "",
            ok=100 * seconds - bad,
            unknown=bad,
        )

    def stop(self) -> None:
        self.stopped += 1
        if self.stop_raises:
            raise self.stop_raises


@dataclass(slots=True)
class Staged:
    """One run, before and after."""

    experiment: Experiment
    engine: Engine
    stage: Stage
    target: MemoryTarget
    stack: ToldStack
    traffic: ToldTraffic
    flags: Flags
    clock: Lockstep
    progress: list[Progress]
    error: ChaosgateError | None = None
    left: list[Aimed] = field(default_factory=list)  # what is in force at the end

    def end(self) -> str:
        """Run to its end; return how it ended, "" if it raised (see `error`)."""
        try:
            return self.engine.run()
        except ChaosgateError as error:
            self.error = error
            return ""
        finally:
            self.left = list(self.target.in_force)
            self.target.release()
            self.stack.released.set()
            self.stage.recorder.close()

    @property
    def events(self) -> tuple[Event, ...]:
        """What was recorded, in the order of events.jsonl."""
        return Recording.open(self.stage.folder).events

    def told(self, kind: EventKind, step: str = "") -> list[Event]:
        """Return the events of a kind, of one step if it is named."""
        return [event for event in self.events if event.kind is kind and step in ("", event.step)]

    def details(self, kind: EventKind, step: str = "") -> list[str]:
        """Return the details of `told`."""
        return [event.detail for event in self.told(kind, step)]

    @property
    def story(self) -> list[str]:
        """Return phases, injections and heals in the order of events.jsonl, a line each."""
        shown = (EventKind.RUN, EventKind.PHASE, EventKind.INJECT, EventKind.HEAL, EventKind.ABORT)
        return [_line(event) for event in self.events if event.kind in shown]

    def at_s(self, event: Event) -> float:
        """Return when it was, from t = 0."""
        return (event.at_ns - self.engine._t0_ns) / NS

    def settled(self) -> bool:
        """Whether all that was begun has ended, or hangs as told."""
        forces = self.engine._in_force.values()
        begun = [*self.engine._starting.values(), *(f for one in forces for f in (one._asking, one._operation) if f)]
        return sum(not future.done() for future in begun) <= self.target.hanging + self.stack.hanging


def _line(event: Event) -> str:
    name = f" {event.step}#{event.occurrence}" if event.step else ""
    if event.kind is EventKind.HEAL:
        return f"heal{name} {event.data.get('proof', event.detail)}"
    return f"inject{name}" if event.kind is EventKind.INJECT else f"{event.kind}{name} {event.detail}"


def staged(
    tmp_path, *steps, told=None, stack=None, probes=None, compare=None, aim=None, recorder=None, **more
) -> Staged:
    """Set a run up; `more` are fields of the experiment."""
    asked = experiment(*steps, **more)
    clock = Lockstep()
    target = MemoryTarget(NODES, clock=clock, **({"told": told} if told else {}))
    stack = stack or ToldStack()
    traffic = ToldTraffic(clock)
    recorder = recorder or Recorder(tmp_path / "run", free_bytes_min=0)
    flags, progress = Flags(), []
    stage = Stage(
        target=target,
        stack=stack,
        traffic=traffic,
        recorder=recorder,
        clock=clock,
        folder=recorder.folder,
        probes=probes or {},
        compare_replicas=compare,
    )
    timeline = plan(asked, target.topology())
    aim = aim or Aim(seed=asked.seed)
    engine = Engine(asked, timeline, stage, flags=flags, aim=aim, watch=progress.append)
    run = Staged(asked, engine, stage, target, stack, traffic, flags, clock, progress)
    clock.settled = run.settled
    return run


def at(run: Staged, at_s: float, act: Callable[[], None]) -> None:
    """Do something once, at the first turn at or after `at_s` from t = 0 (in any phase before it: at once)."""
    done: list[bool] = []

    def watch(progress: Progress) -> None:
        run.progress.append(progress)
        if not done and progress.at_s is not None and progress.at_s >= at_s:
            done.append(True)
            act()

    run.engine._watch = watch


def in_phase(run: Staged, phase: str, act: Callable[[], None]) -> None:
    """Do something once, as soon as a phase is shown."""
    done: list[bool] = []

    def watch(progress: Progress) -> None:
        run.progress.append(progress)
        if not done and progress.phase == phase:
            done.append(True)
            act()

    run.engine._watch = watch
