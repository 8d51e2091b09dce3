"""Whatever ends a run, and whenever: nothing is left behind, and nobody takes the torn run for a good one.

a run announces every effect ─▶ POINTS ─▶ a run for each, whose controller is killed just before it
"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from chaos.model import Aimed, EventKind, Impairment, Proof, Shape
from chaos.targets.netns.lab import NodeSpec
from chaos.targets.netns.target import open_netns
from tests.e2e import short
from tests.e2e.ending import NO_YES, Ending, pid_of
from tests.leftovers import assert_nothing_left, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="the whole look needs the machine's root"),
]

STEPS = {
    "kill": "for: 800ms, fault: kill",
    "freeze": "for: 1s, fault: freeze",
    "slow": "for: 1s, fault: {latency: {delay: 50ms, peers: client}}",
    "cut": "for: 1s, fault: {partition: {from: client}}",
    "power": "for: 1s, fault: power",
    "restart": "fault: {restart: {timeout: 20s}}",
    "replace": "fault: {replace: {version: 3.5.35, timeout: 20s}}",
    "cpu": "for: 1500ms, fault: {cpu: {cores: 0.01}}",
    "disk": "for: 1s, fault: {disk: {latency: 10ms, of: [sync]}}",
    "lose": "for: 1s, fault: {power: {unsynced: lost}}",
}
BEGINS = {
    "kill": "100ms",
    "freeze": "1200ms",
    "slow": "2500ms",
    "cut": "2500ms",
    "power": "4s",
    "restart": "5500ms",
    "replace": "6s",
    "cpu": "8500ms",
    "disk": "10500ms",
    "lose": "12s",
}
CALIBRATED = "calibrated"  # no step: the load that leads to a point

POINTS = {  # every effect that such runs announce, and the step (or load) that it takes to come there
    "recording.begin": "",
    "lab.open": "",
    "lab.folder": "",
    "lab.cgroups": "",
    "lab.init": "",
    "agent.start": "",
    "run.set-up": "",
    "process.start": "",
    "run.load": "",
    "helper.spawn": "",
    "traffic.calibrate": CALIBRATED,
    "traffic.start": "",
    "step.inject": "slow",
    "agent.inject": "slow",
    "journal.write": "slow",
    "signal.apply": "kill",
    "freeze.apply": "freeze",
    "shape.apply": "slow",
    "cut.apply": "cut",
    "power.link": "power",
    "power.off": "power",
    "power.lose": "lose",
    "cpu.apply": "cpu",
    "disk.apply": "disk",
    "step.heal": "slow",
    "signal.undo": "kill",
    "freeze.undo": "freeze",
    "shape.undo": "slow",
    "cut.undo": "cut",
    "power.disk": "lose",
    "cpu.undo": "cpu",
    "disk.undo": "disk",
    "power.plug": "power",
    "power.boot": "power",
    "journal.forget": "slow",
    "operate.restart": "restart",
    "operate.replace": "replace",
    "process.stop": "replace",
    "run.drain": "",
    "run.compare": "",
    "agent.bye": "",
    "lab.close": "",
    "lab.sweep": "",
    "recording.judge": "",
}
AGAIN = {"process.start:2": "restart"}  # the member is down, and nobody but its stack would start it
BEFORE_THE_RECORDING = {"recording.begin"}
AFTER_THE_END = {"recording.judge"}  # the run is complete by then


def text(*names: str) -> str:
    """Return an experiment with these steps, which are in force from its first moment; one member is enough for it."""
    return _text("2s" if names else "300ms", dict.fromkeys(names, "100ms"))


def calibrated_text() -> str:
    """Return an experiment whose load a calibration must find first."""
    return text().replace(f"rate: {RATE}", "rate: 5% of calibration")


def held_text(name: str) -> str:
    """Return an experiment with this step, in force for long enough to be broken in its middle."""
    return re.sub(r"for: \w+, fault", "for: 4s, fault", text(name)).replace("duration: 2s", "duration: 5s")


def whole_text() -> str:
    """Return an experiment with every step, one after the other, on as many members as a user has."""
    return _text("14s", BEGINS, members=3)


RATE = "40/s"  # what is looked at here is how a run ends; its traffic costs the machine, and the other tests, time


def _text(duration: str, begins: Mapping[str, str], *, members: int = 1) -> str:
    on = "{role: member, count: 1}"
    steps = "".join(f"  - {{name: {name}, at: {at}, on: {on}, {STEPS[name]}}}\n" for name, at in begins.items())
    whole = short.text(name="ending", steps=f"steps:\n{steps}" if steps else "", duration=duration, rate=RATE)
    for usual, lesser in {
        "members: 3": f"members: {members}",
        "users: 20": "users: 5",
        "ramp: 500ms": "ramp: 100ms",
        "warm-up: 500ms": "warm-up: 200ms",
    }.items():
        assert usual in whole
        whole = whole.replace(usual, lesser)
    return whole


@pytest.fixture
def begin(tmp_path):
    """Start runs; whatever the test does, none outlives it."""
    started: list[Ending] = []

    def start(yaml: str, *options: str, **points: str) -> Ending:
        run = Ending(tmp_path / f"{len(started)}", yaml, *options, **points)
        started.append(run)
        return run

    yield start
    for run in started:
        run.__exit__()


# ---------------------------------------------------------------- SIGKILL of the controller


@pytest.mark.alone  # ten faults close together: beside other tests the run is aborted before the last
def test_the_points_are_all_that_a_run_announces(begin, tmp_path):
    """Runs from beginning to end, and into a calibration; a point that is new here is one to be killed at below."""
    log = tmp_path / "points"
    whole = begin(whole_text(), POINTS_LOG=str(log))
    code = whole.wait()
    whole.assert_nothing_left()
    calibrated = begin(calibrated_text(), POINTS_LOG=str(log), STOP_AT="traffic.calibrate", STOP_BY="SIGINT")
    calibrated.assert_ended_in_order(calibrated.wait(), word="interrupted")
    announced = set(log.read_text(encoding="utf-8").split())
    new, gone = sorted(announced - POINTS.keys()), sorted(POINTS.keys() - announced)
    assert not new, f"new effects of a run: add {new} to POINTS, each with the step that leads there"
    assert not gone, f"effects that a run no longer has: take {gone} from POINTS; exit code {code}: {whole.said()}"


@pytest.mark.parametrize("point", [*POINTS, *AGAIN])
def test_a_controller_killed_at_any_point_leaves_nothing(begin, point):
    step = {**POINTS, **AGAIN}[point]
    yaml = calibrated_text() if step == CALIBRATED else text(*([step] if step else ()))
    run = begin(yaml, STOP_AT=point, STOP_WHO="controller")
    assert run.wait() == -signal.SIGKILL, run.said()
    run.assert_only_folders_left()
    code, said = run.heal()
    assert code == 0, said
    run.assert_nothing_left()
    if point in BEFORE_THE_RECORDING:
        assert run.recording is None
    elif point in AFTER_THE_END:
        assert any(event.kind is EventKind.RUN and event.detail == "complete" for event in run.events)
        run.judge()
    else:
        run.assert_judged_as_cut_short()


def test_the_look_sees_a_run_that_lives_and_heal_leaves_it_alone(begin):
    """A look that sees nothing would find nothing left; a heal that sweeps the living would be worse than none."""
    run = begin(held_text("slow"))
    run.await_confirmed("slow")
    seen = snapshot(run._folders).since(run.before)
    for kind in ("processes", "namespaces", "folders"):
        assert seen.get(kind), seen
    assert any("etcd" in name for name in seen["processes"]), seen["processes"]
    assert run.heal() == (0, "nothing to heal\n")
    code = run.wait()
    problems = run.judge()[1].verdicts[0].numbers["problems"]
    assert not [problem for problem in problems if "slow" in problem or "broke down" in problem], problems
    assert code != 13
    run.assert_nothing_left()


# ---------------------------------------------------------------- signals, and a lost reader


UNFINISHED = {"run.set-up": "SIGTERM", "run.load": "SIGINT", "traffic.start": "SIGHUP"}  # and a calibration: see above
FINISHED = {  # the traffic has ended: nothing is missing, and the run is judged as it is
    "run.drain": "SIGINT",
    "run.compare": "SIGTERM",
    "lab.close": "SIGINT",
    "recording.judge": "SIGTERM",
}


@pytest.mark.parametrize(("point", "name"), [*UNFINISHED.items(), *FINISHED.items()])
def test_a_signal_at_any_point_ends_a_run_in_order(begin, point, name):
    """One handler serves all three: each point is given one of them."""
    run = begin(text(), STOP_AT=point, STOP_BY=name)
    code = run.wait()
    if point in UNFINISHED:
        run.assert_ended_in_order(code, word="interrupted")
        return
    run.assert_nothing_left()
    assert code in (0, 10, 11, 12), run.said()
    assert any(event.kind is EventKind.RUN and event.detail == "complete" for event in run.events)
    assert run.judge()[0] == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_in_mid_fault_heals_first(begin, name):
    run = begin(held_text("slow"))
    run.await_confirmed("slow")
    os.kill(run.process.pid, signal.Signals[name])
    run.assert_ended_in_order(run.wait(), word="interrupted")
    run.assert_healed("slow")


def test_a_reader_that_goes_away_ends_the_run_in_order(begin):
    """`chaosgate run … | head`: the next print fails, and everything is healed and judged."""
    run = begin(held_text("slow"))
    run.await_event("injection", lambda event: event.kind is EventKind.INJECT)
    run.process.stdout.close()
    run.assert_ended_in_order(run.wait(), word="interrupted")
    assert any("lost standard output" in event.detail for event in run.events)


# ---------------------------------------------------------------- SIGKILL of what makes the faults


ACTS = ("signal.apply", "freeze.apply", "shape.apply", "cut.apply", "power.link", "power.off")
UNDONE = ("signal.undo", "freeze.undo", "shape.undo", "cut.undo", "power.plug", "power.boot", "journal.forget")
UNDOES = {point: POINTS[point] for point in UNDONE} | {  # where an agent is killed, and its successor in replaying
    "cut.undo,journal.forget": "cut",
}


@pytest.mark.parametrize("point", ACTS)
def test_an_agent_killed_just_before_it_acts_is_no_yes(begin, point):
    step = POINTS[point]
    run = begin(text(step), STOP_AT=point)
    run.assert_ended_in_order(run.wait(), step)


@pytest.mark.parametrize(("points", "step"), UNDOES.items())
def test_what_an_agent_was_killed_in_undoing_is_undone_by_the_next(begin, tmp_path, points, step):
    marks = tmp_path / "marks"
    marks.mkdir()
    run = begin(text(step), STOP_AT=points, STOP_ONCE=str(marks))
    code = run.wait()
    assert {path.name for path in marks.iterdir()} == set(points.split(",")), run.said()
    run.assert_nothing_left()
    assert code in (0, *NO_YES), run.said()
    run.assert_healed(step)


@pytest.mark.parametrize("step", ["slow", "cut", "kill", "freeze", "power"])
def test_an_agent_killed_in_mid_fault_is_told_and_healed(begin, step):
    run = begin(held_text(step))
    run.await_event("the fault in force", lambda event: event.kind is EventKind.CONFIRM and event.step == step)
    os.kill(run.pid_of("chaos.agent"), signal.SIGKILL)
    run.assert_ended_in_order(run.wait(), step)
    run.assert_healed(step)


@pytest.mark.parametrize("step", ["slow", "cut"])
def test_a_shaper_killed_in_mid_fault_is_told_and_healed(begin, step):
    run = begin(held_text(step))
    run.await_confirmed(step)
    os.kill(run.pid_of("chaos.agent.shaper.daemon"), signal.SIGKILL)
    run.assert_ended_in_order(run.wait(), step)
    run.assert_healed(step)


def test_a_shaper_killed_in_the_last_moment_is_told(tmp_path):
    """Between the last look of the watch and the undo: the undo looks once more."""
    before = snapshot()
    nodes = [NodeSpec(name=name, role="member") for name in ("n1", "n2")]
    with open_netns(nodes, base=tmp_path / "labs", evidence=tmp_path / "evidence") as target:
        aimed = Aimed(subject="n1", action=Shape(impairment=Impairment(delay_s=0.05)))
        injection = target.inject([aimed], deadline_s=60)
        while injection.events.get(timeout=30).proof is not Proof.CONFIRMED:
            pass
        os.kill(pid_of("chaos.agent.shaper.daemon", before), signal.SIGKILL)
        injection.heal().exception(60)
        told = [injection.events.get_nowait() for _ in range(injection.events.qsize())]
    assert any(one.phase == "watch" and one.proof is Proof.MISMATCH for one in told), told
    assert_nothing_left(before)
