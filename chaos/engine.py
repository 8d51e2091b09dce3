"""Carries out one experiment: timeline + target + stack + workload + clock -> a recording.

                     ┌────────── decides and dispatches, never waits ──────────┐
    timeline ──────▶ │ follow(): due ticks, arrived evidence, aborts, early end │ ──▶ events.jsonl
                     └──┬─────────┬──────────┬──────────────┬──────────────────┘
                  injectors    healers    lookers        load status
                 (own threads, own threads: an injection can never keep a heal waiting)

Whatever ends a run (its end, an error, Ctrl-C, SIGTERM, abort-when, a certain verdict) heals everything first.
Signals only set a flag that wakes the clock; nothing is raised from a handler.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_any
from typing import TYPE_CHECKING, TypeVar

from chaos.agent.points import announce
from chaos.clock import NS, ns
from chaos.errors import ChaosgateError, DirtyError, HarnessError, RecordingError
from chaos.firing import Firing
from chaos.inforce import InForce, failed_evidence
from chaos.limits import why_abort
from chaos.lookers import Lookers
from chaos.model import (
    Event,
    EventKind,
    LoadStatus,
    Status,
    to_json,
)
from chaos.occurrences import is_momentary
from chaos.plan import TickKind
from chaos.ports import HandsRole, Watches
from chaos.shapes import peak_at_s
from chaos.stage import Flags, Progress, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.aiming import Aim
    from chaos.model import Experiment, NamedGate, Step, Verdict
    from chaos.plan import Tick, Timeline
    from chaos.ports import Generator

T = TypeVar("T")

POLL_S = 0.05  # how often the deciding thread looks up
INJECT_TIMEOUT_S = 20.0
HEAL_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 60.0
SET_UP_TIMEOUT_S = 120.0
HAND_OVER_TIMEOUT_S = 10.0
LOAD_LEAD_S = 0.3  # from the word to go to the first operation


class _Interrupted(Exception):  # noqa: N818  # no trouble of anybody: the run is asked to end
    """Somebody ended the run while something was waited for."""


class Engine:
    """One run. `run` returns how it ended; what happened is in the recording."""

    def __init__(
        self,
        experiment: Experiment,
        timeline: Timeline,
        stage: Stage,
        *,
        flags: Flags,
        aim: Aim,
        watch: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.experiment, self.timeline, self.stage = experiment, timeline, stage
        self.flags, self.aim, self._watch = flags, aim, watch
        self.steps: Mapping[str, Step] = {step.name: step for step in experiment.steps}
        self._injectors = ThreadPoolExecutor(8, "inject")
        self._healers = ThreadPoolExecutor(16, "heal")
        self._in_force: dict[tuple[str, int], InForce] = {}
        self._starting: dict[tuple[str, int], Future[InForce]] = {}
        self._late_heals: set[tuple[str, int]] = set()  # due while still being injected
        self._look_at_disk_ns = 0
        self._patience_ns = 0  # until when everything that was fired must have come to its end
        self._lookers = Lookers(stage)
        self._firing = Firing(
            stage=stage, steps=self.steps, aim=aim, lookers=self._lookers, workers=self._injectors, say=self._say
        )
        self._generator: Generator | None = None
        self._t0_ns = 0
        self._phase = "set-up"
        self._ended = ""
        self._load_at_ns = 0
        self._dirty: list[str] = []
        self._trouble: ChaosgateError | None = None
        self._statuses: list[LoadStatus] = []

    # ------------------------------------------------------------ the whole run

    def run(self) -> str:
        """Carry out the experiment; return "complete", "aborted", "interrupted" or "stopped early".

        Raises DirtyError if something could not be healed, else the first ChaosgateError of the harness, a
        stranger's exception inside a HarnessError; each only after everything that could be healed was, and after the
        recording says so.
        """
        try:
            self._say(EventKind.RUN, "begin")
            self._act()
            return self._finish()
        finally:
            self._lookers.stop()
            self._injectors.shutdown(wait=False, cancel_futures=True)
            self._healers.shutdown(wait=False, cancel_futures=True)

    def _act(self) -> None:
        try:
            self._set_up()
            self._load()
            self._follow()
        except _Interrupted:
            self._over()  # says so
        except Exception as error:  # noqa: BLE001  # stack and workload may be a stranger's: heal, settle, then raise it
            self._note_trouble(error)
        finally:
            self._heal_everything()
        try:
            self._settle(look_back=self._trouble is None and self._ended in ("complete", "stopped early", "aborted"))
        except Exception as error:  # noqa: BLE001  # as above
            self._note_trouble(error)

    def _note_trouble(self, error: Exception) -> None:
        """Write it down; the first one is what `run` raises."""
        trouble = error
        if not isinstance(trouble, ChaosgateError):
            trouble = HarnessError(f"{type(error).__name__}: {error}")
            trouble.__cause__ = error
        self._trouble = self._trouble or trouble
        self._say(EventKind.ERROR, str(trouble))

    def _finish(self) -> str:
        self._lookers.stop()
        self._turn_quietly()  # what they saw last
        self._enter_phase("tear-down")
        self._say(EventKind.RUN, self._ended or "interrupted")
        if self._dirty:
            raise DirtyError("; ".join(self._dirty)) from self._trouble
        if self._trouble is not None:
            raise self._trouble
        return self._ended

    def _set_up(self) -> None:
        self._enter_phase("set-up")
        announce("run.set-up")
        starting = self._injectors.submit(self.stage.stack.up, self.stage.target, self.stage.folder / "logs")
        self._wait_for(starting, SET_UP_TIMEOUT_S, "the stack was not ready", interruptible=True)
        self._record_versions("start")
        self._lookers.start()

    def _load(self) -> None:
        self._enter_phase("load")
        announce("run.load")
        preparing = self._injectors.submit(self.stage.traffic.prepare)
        said = self._wait_for(preparing, SET_UP_TIMEOUT_S, "the load was not calibrated", interruptible=True)
        self._say(EventKind.NOTE, said)
        self._hand_over()
        self._generator = self.stage.traffic.start(self.stage.clock.now_ns() + ns(LOAD_LEAD_S))
        self._t0_ns = self._firing.t0_ns = self._generator.epoch_ns + ns(
            peak_at_s(self.experiment.load.stages) + self.experiment.warm_up_s
        )
        self._enter_phase("warm-up")

    def _hand_over(self) -> None:
        """Before the load of a replay: who held a role when it was first hit shall hold it again."""
        stack = self.stage.stack
        if not isinstance(stack, HandsRole):
            return
        for role, names in self.aim.first_holders(self.experiment.steps).items():
            handing = self._injectors.submit(stack.hand_over, role, names, HAND_OVER_TIMEOUT_S)
            if said := self._wait_for(handing, SET_UP_TIMEOUT_S, f"{role} was not handed over", interruptible=True):
                self._say(EventKind.NOTE, f"replay: {said}")

    # ------------------------------------------------------------ deciding

    def _follow(self) -> None:
        """Walk the timeline; each turn fires what is due and notes what has arrived."""
        ticks = list(self.timeline.ticks)
        end_ns = self._t0_ns + ns(self.experiment.duration_s)
        while not self._over():
            now = self.stage.clock.now_ns()
            if self._phase == "warm-up" and now >= self._t0_ns:
                self._enter_phase("steady")
            while ticks and self._t0_ns + ns(ticks[0].at_s) <= now:
                self._fire(ticks.pop(0))
            if now >= end_ns and not ticks and (not self._busy() or now > self._patience_ns):
                self._ended = "complete"
                return
            self._turn()
            due = self._t0_ns + ns(ticks[0].at_s) if ticks else end_ns
            next_look = now + ns(POLL_S)
            self.stage.clock.sleep_until(due if now < due < next_look else next_look)

    def _over(self) -> bool:
        """Say whether something other than the timeline ends the run; remember and record why."""
        if self.flags.interrupted:
            self._ended = "interrupted"
            self._say(EventKind.NOTE, f"interrupted by {self.flags.interrupted}; healing everything")
        elif self._trouble is not None:  # the recording can't be written
            self._ended = "aborted"
            self._say(EventKind.ABORT, str(self._trouble))
        elif reason := self._abort_reason():
            self._ended = "aborted"
            self._say(EventKind.ABORT, reason)
        elif reason := self._certain_no():
            self._ended = "stopped early"
            self._say(EventKind.NOTE, f"stopped early: {reason}")
        return bool(self._ended)

    def _abort_reason(self) -> str:
        for force in self._in_force.values():
            if force.over and (problem := force.problem()):
                return f"{force.label} could not be healed: {problem}; nothing more is injected"
        limits, now_ns = self.experiment.abort_when, self.stage.clock.now_ns()
        reason = why_abort(limits, self._statuses, self._lookers.quorum_lost_s(), now_ns)
        if reason or now_ns < self._look_at_disk_ns:
            return reason
        self._look_at_disk_ns = now_ns + NS  # it walks the recording's folder
        return self.stage.recorder.why_no_space(limits.free_disk_bytes)

    def _certain_no(self) -> str:
        for named in self.experiment.gates:
            if named.stops_run and (verdict := self._ask(named)) is not None and verdict.status is Status.FAIL:
                return f"{named.name}: {verdict.summary}"
        return ""

    def _ask(self, named: NamedGate) -> Verdict | None:
        if not isinstance(named.gate, Watches):
            return None
        readings = self._lookers.fresh_readings(named.name)
        return None if readings is None else named.gate.watch(readings)

    def _busy(self) -> bool:
        return bool(self._starting) or any(not force.over for force in self._in_force.values())

    def _turn(self) -> None:
        """Note what arrived since the last turn."""
        for key, starting in list(self._starting.items()):
            if starting.done():
                del self._starting[key]
                self._note_started(key, starting)
        for force in self._in_force.values():
            for event in force.arrived(self.stage.clock.now_ns()):
                self._record(event)
        for event in self._lookers.arrived():
            self._record(event)
        self._note_load()
        self._show()

    def _note_started(self, key: tuple[str, int], starting: Future[InForce]) -> None:
        error = None if starting.cancelled() else starting.exception()
        if not starting.cancelled() and error is None:
            self._in_force[key] = starting.result()
            if key in self._late_heals:
                self._heal(key)
            return
        if isinstance(error, DirtyError):  # part of it stays
            self._dirty.append(f"{key[0]}#{key[1]} was refused and could not be taken back: {error}")
        self._say_not_injected(key, str(error or "its time was over before it could begin"))

    def _say_not_injected(self, key: tuple[str, int], why: str) -> None:
        """Say that there is nothing to confirm; nor to heal, if the target was asked and refused."""
        step, occurrence = key
        now, subjects = self.stage.clock.now_ns(), self._firing.aimed_at.get(key, "")
        proof = failed_evidence(now, f"not injected: {why}")
        self._say(EventKind.CONFIRM, proof.detail, step=step, occurrence=occurrence, data=to_json(proof))
        if subjects and not self._dirty:
            gone = failed_evidence(now, "not injected: nothing to heal", phase="heal", subject=subjects)
            self._say(EventKind.HEAL, gone.detail, step=step, occurrence=occurrence, node=subjects, data=to_json(gone))

    def _note_load(self) -> None:
        if self._generator is None:
            return
        status = self._generator.status()
        if self._statuses and status.at_ns == self._statuses[-1].at_ns:
            return
        self._statuses.append(status)
        self._say(EventKind.LOAD, status.why, data=to_json(status))
        if not status.running and status.why and not self._ended:
            raise HarnessError(f"the load generator stopped: {status.why}")

    # ------------------------------------------------------------ firing

    def _fire(self, tick: Tick) -> None:
        key = (tick.step, tick.occurrence)
        now = self.stage.clock.now_ns()
        if tick.kind is TickKind.INJECT:
            self._starting[key] = self._injectors.submit(self._firing.inject, tick)
            self._patience_ns = max(self._patience_ns, now + ns(self._longest_s(tick)))
            return
        self._patience_ns = max(self._patience_ns, now + ns(tick.deadline_s))
        if key in self._in_force:
            self._heal(key)
        elif key in self._starting and not self._starting[key].cancel():
            self._late_heals.add(key)  # still being injected: it is healed as soon as it is in force

    def _longest_s(self, tick: Tick) -> float:
        """Return how long an injection may take; an operation goes from node to node."""
        if is_momentary(self.steps[tick.step].fault):
            return INJECT_TIMEOUT_S + tick.deadline_s * len(self.stage.target.topology().nodes)
        return INJECT_TIMEOUT_S

    # ------------------------------------------------------------ healing

    def _heal(self, key: tuple[str, int]) -> None:
        force = self._in_force[key]
        if force.healing:
            return
        step, occurrence = key
        self._say(EventKind.HEAL, "asked", step=step, occurrence=occurrence)
        announce("step.heal")
        force.heal(self._healers)

    def _heal_everything(self) -> None:
        """Heal what is in force now, and what is still being injected as soon as it is; wait for the proofs."""
        self._firing.closing.set()
        for starting in self._starting.values():
            starting.cancel()
        self._late_heals.update(self._starting)
        for key in list(self._in_force):
            self._heal(key)
        self._turn_while(lambda: bool(self._starting), INJECT_TIMEOUT_S)
        self._turn_while(lambda: not all(force.over for force in self._in_force.values()), HEAL_TIMEOUT_S)
        for key in self._starting:
            self._dirty.append(f"{key[0]}#{key[1]} was still being injected after {INJECT_TIMEOUT_S:g} s")
            self._say_not_injected(key, "no answer from the target")
        for (step, occurrence), force in self._in_force.items():
            for event in force.given_up(self.stage.clock.now_ns()):
                self._record(event)
            if problem := force.problem():
                self._dirty.append(f"{step}#{occurrence} was not healed: {problem}")
        for problem in self._dirty:
            self._say(EventKind.ERROR, problem)

    def _turn_while(self, unfinished: Callable[[], bool], timeout_s: float) -> None:
        """Note what arrives until it is finished, or for `timeout_s`. In real time: a woken clock no longer sleeps."""
        deadline = time.monotonic() + timeout_s
        self._turn_quietly()
        while unfinished() and time.monotonic() < deadline:
            open_ones = [*self._starting.values(), *(f for force in self._in_force.values() for f in force.open())]
            if open_ones:
                wait_for_any(open_ones, POLL_S, FIRST_COMPLETED)
            self._turn_quietly()

    def _turn_quietly(self) -> None:
        try:
            self._turn()
        except HarnessError as error:
            self._say(EventKind.NOTE, str(error))

    # ------------------------------------------------------------ afterwards

    def _settle(self, *, look_back: bool) -> None:
        """Stop the traffic, take the final reads, compare the replicas, ask the versions again."""
        if self._generator is None:
            return
        self._enter_phase("drain")
        announce("run.drain")
        stopping = self._healers.submit(self._generator.stop)
        self._wait_for(stopping, DRAIN_TIMEOUT_S, "the load generator did not drain")
        self._enter_phase("final reads")
        if look_back and self.stage.compare_replicas is not None:
            announce("run.compare")
            comparing = self._healers.submit(self.stage.compare_replicas)
            for reading in self._wait_for(comparing, DRAIN_TIMEOUT_S, "the replicas were not compared") or ():
                self.stage.recorder.reading(reading)
        if look_back:
            self._record_versions("end")

    def _wait_for(self, future: Future[T], timeout_s: float, what: str, *, interruptible: bool = False) -> T:
        deadline = time.monotonic() + timeout_s
        while not future.done():
            if time.monotonic() > deadline:
                raise HarnessError(f"{what} within {timeout_s:g} s")
            if interruptible and self.flags.interrupted:
                raise _Interrupted
            self._turn_quietly()
            wait_for_any([future], POLL_S)
        return future.result()

    def _record_versions(self, when: str) -> None:
        for node, facts in self.stage.stack.versions().items():
            self._say(EventKind.VERSION, facts.get("version", ""), node=node, data={**facts, "when": when})

    # ------------------------------------------------------------ saying

    def _enter_phase(self, phase: str) -> None:
        self._phase = phase
        self._say(EventKind.PHASE, phase, at_ns=self._t0_ns if phase == "steady" else None)
        self._show()

    def _show(self) -> None:
        """Tell whoever watches; one who went away (a closed pipe) ends the run, and never keeps it from healing."""
        try:
            self._watch(self._progress())
        except Exception as error:  # noqa: BLE001  # a watcher is a stranger's code
            self._watch = lambda _: None
            self.flags.interrupted = self.flags.interrupted or f"the loss of its watcher ({error!r})"

    def _progress(self) -> Progress:
        at_s = (self.stage.clock.now_ns() - self._t0_ns) / NS if self._t0_ns else None
        return Progress(
            experiment=self.experiment.name,
            phase=self._phase,
            at_s=at_s,
            duration_s=self.experiment.duration_s,
            load=self._statuses[-1] if self._statuses else None,
            in_force=tuple(force.label for force in self._in_force.values() if not force.over),
        )

    def _say(
        self,
        kind: EventKind,
        detail: str = "",
        *,
        step: str = "",
        occurrence: int = 0,
        node: str = "",
        data: Mapping[str, object] | None = None,
        at_ns: int | None = None,
    ) -> None:
        self._record(
            Event(
                at_ns=self.stage.clock.now_ns() if at_ns is None else at_ns,
                kind=kind,
                detail=detail,
                step=step,
                occurrence=occurrence,
                node=node,
                data=data or {},
            )
        )

    def _record(self, event: Event) -> None:
        """Append it; a disk that takes no more ends the run, and never keeps anything from being healed."""
        try:
            self.stage.recorder.event(event)
        except RecordingError as error:
            self._trouble = self._trouble or error
