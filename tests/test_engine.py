"""What the engine does, and in which order, on a target in memory and a clock that goes in lockstep."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chaos.engine
from chaos.aiming import Aim, recorded_victims
from chaos.errors import CapabilityError, DirtyError, HarnessError, RecordingError, StackError, WorkloadError
from chaos.faults.freeze import FrozenNode
from chaos.faults.pause import Pause
from chaos.faults.restart import Restart
from chaos.limits import error_share, why_abort
from chaos.model import (
    AbortWhen,
    Aimed,
    EventKind,
    LoadStatus,
    NamedGate,
    Proof,
    Reading,
    Selector,
    Signal,
    StackAction,
    Status,
    Verdict,
    to_json,
)
from chaos.recording import Recorder
from chaos.targets.memory import Told, by_kind
from gates.validity import Validity
from tests.leftovers import await_true
from tests.staged import ToldStack, at, in_phase, kill, staged, step

LEADER = Selector(role="leader")
CONFIRM, HEAL, INJECT = EventKind.CONFIRM, EventKind.HEAL, EventKind.INJECT


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    for name in ("INJECT_TIMEOUT_S", "HEAL_TIMEOUT_S"):
        monkeypatch.setattr(chaos.engine, name, 0.2)


def proofs(run, kind, name):
    return [(event.data["phase"], event.data["proof"]) for event in run.told(kind, name) if "proof" in event.data]


# ---------------------------------------------------------------- order


def test_a_run_tells_its_story_in_order(tmp_path):
    run = staged(tmp_path, step())
    assert run.end() == "complete"
    assert run.story == [
        "run begin",
        "phase set-up",
        "phase load",
        "phase warm-up",
        "phase steady",
        "inject cut#0",
        "heal cut#0 asked",
        "heal cut#0 confirmed",
        "phase drain",
        "phase final reads",
        "phase tear-down",
        "run complete",
    ]
    assert run.left == []
    assert run.traffic.stopped == 1


def test_a_run_without_steps_is_all_steady(tmp_path):
    run = staged(tmp_path)
    assert run.end() == "complete"
    assert not run.told(INJECT)
    assert run.target.log == []


def test_t_0_is_when_ramp_and_warm_up_are_over(tmp_path):
    run = staged(tmp_path, step())
    run.end()
    (steady,) = [event for event in run.told(EventKind.PHASE) if event.detail == "steady"]
    assert (steady.at_ns - run.traffic.epoch_ns) / 1e9 == pytest.approx(0.7)
    assert run.at_s(steady) == 0


def test_faults_come_and_go_at_their_times(tmp_path):
    run = staged(tmp_path, step(at_s=1.0, for_s=1.5))
    run.end()
    inject, asked = run.told(INJECT)[0], run.told(HEAL)[0]
    assert run.at_s(inject) == pytest.approx(1.0, abs=0.06)
    assert run.at_s(asked) == pytest.approx(2.5, abs=0.06)
    assert inject.data["planned_ns"] == pytest.approx(run.engine._t0_ns + 1e9)


def test_what_a_fault_did_is_confirmed_before_it_is_healed(tmp_path):
    run = staged(tmp_path, step())
    run.end()
    assert proofs(run, CONFIRM, "cut") == [("inject", "inconclusive"), ("confirm", "confirmed")]
    assert proofs(run, HEAL, "cut") == [("heal", "confirmed")]


def test_an_injection_says_who_was_hit_among_whom_and_how(tmp_path):
    run = staged(tmp_path, step(on=Selector(role="member", count=2), fault=Pause()))
    run.end()
    data = run.told(INJECT)[0].data
    assert len(data["victims"]) == 2
    assert data["candidates"] == ["n1", "n2", "n3"]
    assert [action["kind"] for action in data["actions"]] == ["signal", "signal"]
    assert data["subjects"] == data["victims"]
    assert data["for_s"] == 1.0


def test_a_heal_is_asked_before_an_injection_of_the_same_instant(tmp_path):
    run = staged(tmp_path, step("second", at_s=2.0), step("first", at_s=1.0, for_s=1.0))
    run.end()
    told = [line for line in run.story if line.startswith(("heal", "inject"))]
    assert told.index("heal first#0 asked") < told.index("inject second#0")


def test_a_repeated_step_is_healed_each_time(tmp_path):
    run = staged(tmp_path, kill(at_s=0.5, for_s=0.3, every_s=1.0, until_s=3.5))
    assert run.end() == "complete"
    assert [event.occurrence for event in run.told(INJECT)] == [0, 1, 2]
    assert [event.occurrence for event in run.told(HEAL) if "proof" in event.data] == [0, 1, 2]


def test_load_is_noted_each_second_and_no_oftener(tmp_path):
    run = staged(tmp_path)
    run.end()
    times = [event.data["at_ns"] for event in run.told(EventKind.LOAD)]
    assert len(times) == len(set(times)) == 5


def test_versions_are_asked_at_the_start_and_at_the_end(tmp_path):
    run = staged(tmp_path, step())
    run.end()
    told = [(event.node, event.data["when"]) for event in run.told(EventKind.VERSION)]
    assert told == [(node, when) for when in ("start", "end") for node in ("n1", "n2", "n3")]
    kinds = [(event.kind, event.detail) for event in run.events]
    assert kinds.index((EventKind.VERSION, "1.0")) < kinds.index((EventKind.PHASE, "load"))


def test_the_replicas_are_compared_after_the_drain(tmp_path):
    told = [Reading(name="replica", node="n1", at_ns=1, value=7.0)]
    run = staged(tmp_path, compare=lambda: told)
    run.end()
    from chaos.recording import Recording

    assert list(Recording.open(run.stage.folder).readings) == told


# ---------------------------------------------------------------- injections that go wrong


def test_an_injection_that_is_refused_is_named_and_the_run_goes_on(tmp_path):
    run = staged(tmp_path, step(), kill(at_s=2.5), told=by_kind(cut=Told(refuses="no nft here")))
    assert run.end() == "complete"
    (refused,) = run.told(CONFIRM, "cut")
    assert refused.data["proof"] == Proof.INCONCLUSIVE
    assert refused.detail == "not injected: no nft here"
    assert proofs(run, CONFIRM, "kill")[-1] == ("confirm", "confirmed")


def test_a_refused_injection_is_inconclusive_and_leaves_no_dirt(tmp_path):
    from chaos.recording import Recording
    from gates.validity import heal_failures

    run = staged(tmp_path, step(), told=by_kind(cut=Told(refuses="no nft here")))
    run.end()
    recording = Recording.open(run.stage.folder)
    assert not list(heal_failures(recording))
    verdict = Validity().judge(recording)
    assert verdict.status is Status.INCONCLUSIVE
    assert "no nft here" in " ".join(verdict.numbers["problems"])


def test_a_fault_that_raises_while_it_aims_is_named(tmp_path):
    class Cramped(Pause):
        def aim(self, victims, topology):
            raise ValueError("no room" if topology.nodes[0].address else "planned")

    run = staged(tmp_path, step(fault=Pause()))
    run.engine._firing.steps = {"cut": step(fault=Cramped())}
    assert run.end() == "complete"
    assert run.details(CONFIRM) == ["not injected: no room"]
    assert not run.told(INJECT)


def test_nobody_in_the_role_is_inconclusive(tmp_path):
    run = staged(tmp_path, step(on=LEADER), stack=ToldStack(leader=""))
    assert run.end() == "complete"
    (event,) = run.told(CONFIRM)
    assert event.data["proof"] == Proof.INCONCLUSIVE
    assert "nobody is leader now" in event.detail
    assert run.target.log == []


def test_a_stack_that_can_not_say_who_leads_makes_the_step_inconclusive(tmp_path):
    run = staged(tmp_path, step(on=LEADER), stack=ToldStack(finding_raises=StackError("no answer from n1")))
    assert run.end() == "complete"
    assert run.details(CONFIRM) == ["not injected: no answer from n1"]


def test_who_leads_is_asked_when_the_step_fires(tmp_path):
    run = staged(tmp_path, step(on=LEADER))
    at(run, 0.5, lambda: setattr(run.stack, "leader", "n3"))
    run.end()
    assert run.told(INJECT)[0].data["victims"] == ["n3"]


def test_an_injection_that_hangs_keeps_no_heal_waiting(tmp_path):
    hanging = step("freeze", at_s=0.5, for_s=0.3, fault=FrozenNode())
    run = staged(tmp_path, hanging, step(at_s=1.0), told=by_kind(freeze=Told(inject_hangs=True)))
    run.end()
    asked = next(event for event in run.told(HEAL, "cut") if event.detail == "asked")
    assert run.at_s(asked) == pytest.approx(2.0, abs=0.06)
    assert proofs(run, HEAL, "cut") == [("heal", "confirmed")]


def test_an_injection_that_never_answers_leaves_the_target_dirty(tmp_path):
    run = staged(tmp_path, step(), told=by_kind(cut=Told(inject_hangs=True)))
    run.end()
    assert isinstance(run.error, DirtyError)
    assert "cut#0 was still being injected" in str(run.error)
    assert run.details(CONFIRM) == ["not injected: no answer from the target"]


def test_a_heal_that_is_due_while_still_injecting_is_done_once_it_is_in_force(tmp_path):
    run = staged(tmp_path, step(), told=by_kind(cut=Told(inject_hangs=True)))
    at(run, 2.5, run.target.release)
    assert run.end() == "complete"
    assert run.left == []
    asked = next(event for event in run.told(HEAL) if event.detail == "asked")
    assert run.at_s(asked) == pytest.approx(2.5, abs=0.2)


def test_more_injections_hang_than_there_are_threads_and_the_heals_are_done(tmp_path):
    many = [step(f"freeze{n}", at_s=0.5, for_s=0.3, fault=FrozenNode()) for n in range(10)]
    run = staged(tmp_path, step(at_s=0.2), *many, told=by_kind(freeze=Told(inject_hangs=True)))
    run.clock.settled = lambda: run.settled() or run.target.hanging == 8  # the others wait for a thread
    run.end()
    assert isinstance(run.error, DirtyError)
    assert proofs(run, HEAL, "cut") == [("heal", "confirmed")]
    late = [detail for detail in run.details(CONFIRM) if "before it could begin" in detail]
    assert len(late) >= 2


def test_a_fault_that_mixes_operations_and_actions_is_refused(tmp_path):
    class Mixed(Pause):
        def aim(self, victims, topology):
            actions = (Signal(signal="STOP"), StackAction(operation="restart"))
            return [Aimed(subject=victims[0].name, action=action) for action in actions]

    run = staged(tmp_path, step(fault=Mixed()))
    run.end()
    assert "split it into two steps" in run.details(CONFIRM)[0]
    assert not run.told(INJECT)


# ---------------------------------------------------------------- heals that go wrong


@pytest.mark.parametrize(
    "told",
    [
        Told(heal_fails="nft says no"),
        Told(heal_raises="no agent"),
        Told(heal_hangs=True),
        Told(heals=Proof.MISMATCH),
    ],
    ids=["fails", "raises", "hangs", "is still there"],
)
def test_a_heal_that_fails_is_raised_after_all_else_was_healed_and_recorded(tmp_path, told):
    run = staged(tmp_path, kill(at_s=0.5, for_s=2.0), step(at_s=1.0), told=by_kind(cut=told))
    run.end()
    assert isinstance(run.error, DirtyError)
    assert "cut#0 was not healed" in str(run.error)
    assert [aimed.action.kind for aimed in run.left] == ["cut"]
    assert proofs(run, HEAL, "kill") == [("heal", "confirmed")]
    assert any("cut#0 was not healed" in detail for detail in run.details(EventKind.ERROR))
    assert run.story[-1].startswith("run ")


def test_nothing_more_is_injected_after_a_heal_that_failed(tmp_path):
    run = staged(
        tmp_path, step(at_s=0.5, for_s=0.5), kill(at_s=3.0, for_s=0.5), told=by_kind(cut=Told(heal_fails="no"))
    )
    run.end()
    assert [event.step for event in run.told(INJECT)] == ["cut"]
    assert "could not be healed" in run.details(EventKind.ABORT)[0]


def test_a_heal_without_evidence_is_no_dirt_but_is_not_proved(tmp_path):
    run = staged(tmp_path, step(), told=by_kind(cut=Told(heals=None)))
    assert run.end() == "complete"
    assert proofs(run, HEAL, "cut") == []


def test_a_run_that_waits_for_a_heal_for_ever_ends(tmp_path):
    run = staged(tmp_path, step(), told=by_kind(cut=Told(heal_hangs=True)))
    run.end()
    assert run.story[-1] == "run complete"
    assert "no answer to the heal" in str(run.error)


# ---------------------------------------------------------------- aborts


def test_too_many_errors_abort_and_heal(tmp_path):
    run = staged(tmp_path, step(at_s=1.0, for_s=9.0), duration_s=12.0, abort_when=AbortWhen(error_share=0.5))
    at(run, 1.5, lambda: setattr(run.traffic, "bad_share", 0.9))
    assert run.end() == "aborted"
    assert "limit 50%" in run.details(EventKind.ABORT)[0]
    assert run.left == []
    assert run.story[-1] == "run aborted"


def test_few_errors_abort_nothing(tmp_path):
    run = staged(tmp_path, abort_when=AbortWhen(error_share=0.5))
    run.traffic.bad_share = 0.4
    assert run.end() == "complete"


class Quorum:
    """A probe that says that there is none."""

    def __init__(self, clock):
        self.clock, self.looks = clock, 0

    def read(self, timeout_s):
        self.looks += 1
        return [Reading(name="quorum", node="", at_ns=self.clock.now_ns(), value=0.0)]


def with_probe(run, probe, name="probe"):
    """Let the probe look once a turn at least."""
    run.stage.probes[name] = (probe, 0.001)

    def looked(seen=[0]):  # noqa: B006  # remembers between calls, on purpose
        if not run.engine._lookers._threads or probe.looks > seen[0]:
            seen[0] = probe.looks
            return run.settled()
        return False

    run.clock.settled = looked


def test_a_quorum_lost_too_long_aborts_and_heals(tmp_path):
    run = staged(tmp_path, step(for_s=2.5), probes={}, abort_when=AbortWhen(quorum_lost_s=1.5))
    with_probe(run, Quorum(run.clock))
    assert run.end() == "aborted"
    assert "quorum lost for" in run.details(EventKind.ABORT)[0]
    assert run.left == []


def test_a_full_disk_aborts_and_heals(tmp_path):
    run = staged(tmp_path, step(), abort_when=AbortWhen(free_disk_bytes=1 << 62))
    assert run.end() == "aborted"
    assert "bytes are free" in run.details(EventKind.ABORT)[0]


class BrokenRecorder(Recorder):
    """Can't write any more from some moment on."""

    broken = False

    def event(self, event):
        if self.broken:
            raise RecordingError("the disk is gone")
        super().event(event)


def test_a_recording_that_can_not_be_written_keeps_nothing_from_being_healed(tmp_path):
    recorder = BrokenRecorder(tmp_path / "run", free_bytes_min=0)
    run = staged(tmp_path, step(for_s=2.0), recorder=recorder)
    at(run, 1.5, lambda: setattr(recorder, "broken", True))
    run.end()
    assert isinstance(run.error, RecordingError)
    assert len(run.target.log) == 2
    assert run.target.log[-1].startswith("heal cut")
    assert run.left == []


def test_the_share_of_errors_is_that_of_the_last_seconds():
    statuses = [LoadStatus(at_ns=n * 10**9, running=True, ok=100 * n, failed=0) for n in range(1, 9)]
    worse = LoadStatus(at_ns=9 * 10**9, running=True, ok=800, failed=100)
    assert error_share([]) is None
    assert error_share(statuses) == 0
    assert error_share([statuses[-1], worse]) == 1
    parts = [{"kv": to_json(statuses[-1]), "records": to_json(said)} for said in (statuses[-1], worse)]
    both = [replace(said, parts=part) for said, part in zip((statuses[-1], statuses[-1]), parts, strict=True)]
    assert error_share(both) == 1, "one load that works does not make up for one that does not"
    limits = AbortWhen(error_share=0.1)
    assert why_abort(limits, statuses, 0.0, 9 * 10**9) == ""
    assert "error share 20%" in why_abort(limits, [*statuses, worse], 0.0, 9 * 10**9)


# ---------------------------------------------------------------- gates and probes while it runs


class NoAtTwo:
    """A gate that watches, and is certain once it has seen two readings."""

    def __init__(self, status=Status.FAIL):
        self.status = status

    def judge(self, recording):
        return Verdict(status=self.status, summary="two readings")

    def watch(self, readings):
        return self.judge(None) if len(readings) >= 2 else None


@pytest.mark.parametrize(
    ("stops_run", "status", "how"),
    [
        (True, Status.FAIL, "stopped early"),
        (False, Status.FAIL, "complete"),
        (True, Status.PASS, "complete"),
    ],
)
def test_a_certain_no_ends_the_run_early_where_asked(tmp_path, stops_run, status, how):
    gates = (NamedGate(name="same", gate=NoAtTwo(status), stops_run=stops_run),)
    run = staged(tmp_path, step(for_s=2.0), gates=gates)
    with_probe(run, Quorum(run.clock))
    assert run.end() == how
    assert run.left == []
    assert ("stopped early: same: two readings" in run.details(EventKind.NOTE)) == (how == "stopped early")


def test_versions_are_asked_at_the_end_of_a_run_that_stopped_early(tmp_path):
    run = staged(tmp_path, gates=(NamedGate(name="same", gate=NoAtTwo(), stops_run=True),))
    with_probe(run, Quorum(run.clock))
    run.end()
    assert [event.data["when"] for event in run.told(EventKind.VERSION)][-1] == "end"


class Raises:
    """A probe that can't look."""

    looks = 0

    def read(self, timeout_s):
        self.looks += 1
        raise OSError("no route")


def test_a_probe_that_raises_is_recorded_by_its_name(tmp_path):
    run = staged(tmp_path)
    with_probe(run, Raises(), "etcd-status")
    assert run.end() == "complete"
    assert any("etcd-status" in detail and "no route" in detail for detail in run.details(EventKind.NOTE))


# ---------------------------------------------------------------- interruptions


@pytest.mark.parametrize("phase", ["set-up", "load", "warm-up", "steady"])
def test_an_interruption_in_any_phase_ends_the_run_and_leaves_nothing(tmp_path, phase):
    run = staged(tmp_path, step())
    run.stack.up_waits = phase == "set-up"
    run.traffic.prepare_waits = threading.Event() if phase == "load" else None
    in_phase(run, phase, lambda: setattr(run.flags, "interrupted", "SIGTERM"))
    how = run.end()
    if run.traffic.prepare_waits:
        run.traffic.prepare_waits.set()
    assert (how, run.error) == ("interrupted", None), "nobody's trouble, in any phase"
    assert run.story[-1] == "run interrupted"
    assert not run.told(EventKind.ERROR)
    assert run.details(EventKind.NOTE)[-1] == "interrupted by SIGTERM; healing everything"
    assert run.left == []
    assert not run.told(INJECT)


def test_an_interruption_heals_what_is_in_force(tmp_path):
    run = staged(tmp_path, step(for_s=2.0))
    at(run, 1.5, lambda: setattr(run.flags, "interrupted", "SIGINT"))
    assert run.end() == "interrupted"
    assert run.left == []
    assert proofs(run, HEAL, "cut") == [("heal", "confirmed")]
    assert "interrupted by SIGINT; healing everything" in run.details(EventKind.NOTE)


@pytest.mark.parametrize("phase", ["drain", "final reads", "tear-down"])
def test_an_interruption_after_the_last_heal_changes_nothing_that_was_seen(tmp_path, phase):
    run = staged(tmp_path, step())
    in_phase(run, phase, lambda: setattr(run.flags, "interrupted", "SIGINT"))
    assert run.end() == "complete"
    assert run.left == []


def test_an_interruption_heals_before_it_waits_for_an_injection_that_hangs(tmp_path):
    hanging = step("freeze", at_s=1.2, for_s=1.0, fault=FrozenNode())
    run = staged(tmp_path, step(for_s=2.0), hanging, told=by_kind(freeze=Told(inject_hangs=True)))
    at(run, 1.5, lambda: setattr(run.flags, "interrupted", "SIGINT"))
    run.end()
    order = [(event.kind, event.step) for event in run.events]
    assert order.index((HEAL, "cut")) < order.index((CONFIRM, "freeze"))
    assert isinstance(run.error, DirtyError)
    assert "freeze#0" in str(run.error)


def test_what_comes_into_force_after_the_interruption_is_healed(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos.engine, "INJECT_TIMEOUT_S", 10.0)
    run = staged(tmp_path, step(for_s=2.0), told=by_kind(cut=Told(inject_hangs=True)))
    at(run, 1.5, lambda: setattr(run.flags, "interrupted", "SIGINT"))
    threading.Timer(0.2, run.target.release).start()
    assert run.end() == "interrupted"
    assert run.left == []
    assert run.target.log[-1].startswith("heal cut")


def test_a_watcher_that_goes_away_ends_the_run_and_everything_is_healed(tmp_path):
    def closed_pipe():
        raise BrokenPipeError("nobody reads")

    run = staged(tmp_path, step(for_s=2.0))
    at(run, 1.5, closed_pipe)
    assert run.end() == "interrupted"
    assert run.left == []
    assert any("loss of its watcher" in detail for detail in run.details(EventKind.NOTE))


# ---------------------------------------------------------------- trouble of the harness


def test_a_stack_that_does_not_come_up_is_an_error_and_is_torn_down(tmp_path):
    run = staged(tmp_path, step(), stack=ToldStack(up_raises=StackError("n1 is not ready")))
    run.end()
    assert isinstance(run.error, StackError)
    assert run.details(EventKind.ERROR) == ["n1 is not ready"]
    assert run.details(EventKind.PHASE) == ["set-up", "tear-down"]
    assert run.traffic.stopped == 0


def test_a_stack_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos.engine, "SET_UP_TIMEOUT_S", 0.1)
    run = staged(tmp_path, stack=ToldStack(up_waits=True))
    run.end()
    assert "the stack was not ready within 0.1 s" in str(run.error)


def test_a_stacks_own_exception_comes_out_as_ours_with_its_cause(tmp_path):
    run = staged(tmp_path, stack=ToldStack(up_raises=KeyError("port")))
    run.end()
    assert type(run.error) is HarnessError
    assert isinstance(run.error.__cause__, KeyError)
    assert run.story[-1] == "run interrupted"


def test_a_missing_capability_keeps_its_exit_code(tmp_path):
    run = staged(tmp_path, stack=ToldStack(up_raises=CapabilityError("no root")))
    run.end()
    assert isinstance(run.error, CapabilityError)
    assert run.details(EventKind.ERROR) == ["no root"]


def test_a_calibration_that_fails_is_an_error(tmp_path):
    run = staged(tmp_path, step())
    run.traffic.prepare_raises = WorkloadError("nothing answered")
    run.end()
    assert isinstance(run.error, WorkloadError)
    assert not run.told(INJECT)


def test_a_generator_that_dies_is_an_error_and_everything_is_healed(tmp_path):
    run = staged(tmp_path, step(for_s=2.0))
    run.traffic.dies_at_s = 2
    run.end()
    assert isinstance(run.error, HarnessError)
    assert run.details(EventKind.ERROR) == ["the load generator stopped: it was killed"]
    assert run.left == []


def test_a_generator_that_can_not_drain_is_an_error(tmp_path):
    run = staged(tmp_path, step())
    run.traffic.stop_raises = WorkloadError("kv-0 did not get drained")
    run.end()
    assert isinstance(run.error, WorkloadError)
    assert run.details(EventKind.ERROR) == ["kv-0 did not get drained"]
    assert run.story[-1] == "run complete"


def test_a_comparison_that_raises_is_an_error(tmp_path):
    def no_answer():
        raise StackError("n3 does not catch up")

    run = staged(tmp_path, compare=no_answer)
    run.end()
    assert run.details(EventKind.ERROR) == ["n3 does not catch up"]


def test_dirt_counts_more_than_trouble(tmp_path):
    run = staged(tmp_path, step(for_s=2.0), told=by_kind(cut=Told(heal_fails="no")))
    run.traffic.dies_at_s = 2
    run.end()
    assert isinstance(run.error, DirtyError)


def test_no_thread_outlives_a_run(tmp_path):
    run = staged(tmp_path, step())
    with_probe(run, Quorum(run.clock))
    run.end()
    names = ("inject", "heal", "probe", "processes")
    await_true("no thread is left", lambda: not [t for t in threading.enumerate() if t.name.startswith(names)])


# ---------------------------------------------------------------- operations of the stack


def restart(**more):
    return step("restart", for_s=0.0, fault=Restart(**more), on=Selector(role="member", count=2))


def test_an_operation_confirms_and_heals_by_ending(tmp_path):
    run = staged(tmp_path, restart())
    assert run.end() == "complete"
    assert run.told(INJECT)[0].data["actions"][0] == {"kind": "stack", "operation": "restart", "arguments": {}}
    assert proofs(run, CONFIRM, "restart") == [("confirm", "confirmed")]
    assert proofs(run, HEAL, "restart") == [("heal", "confirmed")]
    assert run.stack.operated == run.told(INJECT)[0].data["victims"]


def test_of_an_operation_it_is_told_when_the_turn_of_each_node_comes(tmp_path):
    run = staged(tmp_path, restart())
    run.end()
    told = [event for event in run.told(EventKind.NOTE, "restart") if "operation" in event.data]
    assert [(event.node, event.data["operation"]) for event in told] == [(n, "restart") for n in run.stack.operated]


@pytest.mark.parametrize(("on", "found"), [(Selector(role="member"), False), (LEADER, True)])
def test_an_injection_says_whether_its_role_had_to_be_found(tmp_path, on, found):
    run = staged(tmp_path, step(on=on))
    run.end()
    assert run.told(INJECT)[0].data["role_found"] is found


def test_an_operation_that_fails_is_inconclusive_and_no_dirt(tmp_path):
    run = staged(tmp_path, restart(), stack=ToldStack(operation_raises=StackError("n1: not back in time")))
    assert run.end() == "complete"
    assert proofs(run, CONFIRM, "restart") == [("confirm", "inconclusive")]
    assert "n1: not back in time" in run.details(CONFIRM)[0]


def test_an_operation_that_never_ends_does_not_keep_the_run(tmp_path):
    run = staged(tmp_path, restart(timeout_s=1.0), stack=ToldStack(operation_hangs=True))
    assert run.end() == "complete"
    assert not [event for event in run.told(HEAL) if event.data.get("proof") == "confirmed"]
    assert "had not ended" in " ".join(run.details(CONFIRM, "restart"))


def test_a_run_waits_for_an_operation_that_is_not_done_at_its_end(tmp_path):
    late = step("restart", at_s=3.8, for_s=0.0, fault=Restart(timeout_s=30))
    run = staged(tmp_path, late, stack=ToldStack(operation_hangs=True))
    at(run, 6.0, run.stack.released.set)
    assert run.end() == "complete"
    assert proofs(run, CONFIRM, "restart") == [("confirm", "confirmed")]


# ---------------------------------------------------------------- replay, progress


def test_a_replay_hits_whom_the_recorded_run_hit(tmp_path):
    steps = (kill(at_s=0.5, for_s=0.3, every_s=0.5, until_s=3.5),)
    first = staged(tmp_path, *steps, seed=1)
    first.end()
    hit = recorded_victims(first.events)
    again = staged(tmp_path / "again", *steps, seed=2, aim=Aim(seed=2, recorded=hit))
    again.end()
    assert recorded_victims(again.events) == hit
    other = staged(tmp_path / "other", *steps, seed=2)
    other.end()
    assert recorded_victims(other.events) != hit


def test_a_replay_gives_the_recorded_victim_its_role_back_before_the_load(tmp_path):
    run = staged(tmp_path, step(on=LEADER), aim=Aim(seed=1, recorded={("cut", 0): ("n1",)}))
    assert run.end() == "complete"
    assert run.told(INJECT)[0].data["victims"] == ["n1"]
    assert "replay: n1 leads now" in run.details(EventKind.NOTE)


def test_only_a_replay_moves_a_role(tmp_path):
    run = staged(tmp_path, step(on=LEADER))
    run.end()
    assert run.stack.leader == "n2"


def test_who_held_a_role_is_taken_from_its_first_step():
    aim = Aim(
        seed=1, recorded={("late", 0): ("n3",), ("early", 0): ("n1",), ("early", 1): ("n2",), ("any", 0): ("n2",)}
    )
    steps = [step("late", at_s=9, on=LEADER), step("early", at_s=1, on=LEADER), step("any", at_s=2)]
    assert dict(aim.first_holders(steps)) == {"leader": ("n1",), "member": ("n2",)}
    assert not Aim(seed=1).first_holders(steps)


def test_a_replay_whose_victim_no_longer_has_the_role_is_inconclusive(tmp_path):
    stack = ToldStack(hands_over=False)
    run = staged(tmp_path, step(on=LEADER), aim=Aim(seed=1, recorded={("cut", 0): ("n1",)}), stack=stack)
    run.end()
    assert "recorded victim of cut, but not leader now" in run.details(CONFIRM)[0]


def test_progress_has_phase_countdown_load_and_what_is_in_force(tmp_path):
    run = staged(tmp_path, step())
    run.end()
    assert list(dict.fromkeys(p.phase for p in run.progress)) == run.details(EventKind.PHASE)
    warm = [p.at_s for p in run.progress if p.phase == "warm-up"]
    assert warm[0] < 0
    assert warm == sorted(warm)
    assert all(p.duration_s == 4.0 for p in run.progress)
    assert {p.in_force for p in run.progress} == {(), ("cut",)}
    in_force = [p.at_s for p in run.progress if p.in_force]
    assert min(in_force) == pytest.approx(1.0, abs=0.15)
    assert max(in_force) == pytest.approx(2.0, abs=0.15)
    assert run.progress[-1].load.ok >= 400


def test_processes_that_start_and_end_are_noted(tmp_path):
    from chaos.model import Process

    run = staged(tmp_path, kill(on=Selector(role="member", share=1.0)))
    run.target.start("n1", Process(name="etcd", argv=("etcd",)))
    run.end()
    told = [(event.detail, event.data["starts"]) for event in run.told(EventKind.PROCESS)]
    assert told[0] == ("started", 1)
    assert told[-1] == ("started", 2)


# ---------------------------------------------------------------- whatever fails in between

TOLD = st.sampled_from(
    [
        Told(),
        Told(),
        Told(refuses="no"),
        Told(confirms=Proof.MISMATCH),
        Told(confirms=None),
        Told(heals=None),
        Told(heals=Proof.INCONCLUSIVE),
    ]
)
ENDS = st.sampled_from(["", "interrupted", "generator", "watcher", "disk"])
STEPS = st.lists(
    st.tuples(st.floats(0, 2.5), st.floats(0.1, 1.2), st.sampled_from([Pause(), FrozenNode()]), TOLD),
    min_size=1,
    max_size=5,
)


def _go_wrong(run, how):
    """Return what makes a run end in some way."""
    if how == "watcher":
        raise BrokenPipeError
    if how == "interrupted":
        run.flags.interrupted = "SIGTERM"
    elif how == "generator":
        run.traffic.dies_at_s = 0
    elif how == "disk":
        run.stage.recorder.broken = True


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=STEPS, how=ENDS, when_s=st.floats(0.1, 3.5), seed=st.integers(0, 99))
def test_whatever_fails_in_between_all_that_was_injected_is_healed(tmp_path_factory, drawn, how, when_s, seed):
    steps = [step(f"s{n}", at_s=at_s, for_s=for_s, fault=fault) for n, (at_s, for_s, fault, _) in enumerate(drawn)]
    told = iter([told for *_, told in drawn] * 2)
    folder = tmp_path_factory.mktemp("drawn")
    recorder = BrokenRecorder(folder / "run", free_bytes_min=0)
    run = staged(folder, *steps, told=lambda _: next(told), recorder=recorder, seed=seed)
    if how:
        at(run, when_s, lambda: _go_wrong(run, how))
    run.end()
    assert run.left == []
    asked = [line.removeprefix("inject ") for line in run.target.log if line.startswith("inject")]
    healed = [line.removeprefix("heal ") for line in run.target.log if line.startswith("heal")]
    assert len(healed) == len(asked) - sum(told.refuses != "" for *_, told in drawn[: len(asked)])
    if how != "disk":
        assert run.story[-1].startswith("run ")
        assert not isinstance(run.error, DirtyError)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fails=st.sets(st.integers(0, 3)), when_s=st.floats(0.5, 3.0))
def test_heals_that_fail_keep_no_other_from_being_healed(tmp_path_factory, fails, when_s):
    steps = [step(f"s{n}", at_s=0.2, for_s=3.0, on=Selector(role="member"), fault=Pause()) for n in range(4)]
    kinds = [Told(heal_fails="stuck") if n in fails else Told() for n in range(4)]
    told = iter(kinds)
    run = staged(tmp_path_factory.mktemp("drawn"), *steps, told=lambda _: next(told))
    at(run, when_s, lambda: setattr(run.flags, "interrupted", "SIGTERM"))
    run.end()
    assert len(run.left) == len(fails)
    assert isinstance(run.error, DirtyError) == bool(fails)
