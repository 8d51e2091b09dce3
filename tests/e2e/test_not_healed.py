"""What can't be undone is said, loudly: exit code 13, who is still hurt, and nothing more is injected.

undo refused, or done and of no effect ─▶ the proof of the heal fails ─▶ dirty ─▶ `chaosgate heal`
"""

from __future__ import annotations

import os

import pytest

from chaos.model import EventKind, Proof
from gates.judge import read_verdict
from tests.e2e import short
from tests.e2e.ending import NO_YES, Ending

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="the whole look needs the machine's root"),
]

KILL = "  - {name: kill, at: 500ms, on: {role: member, count: 1}, fault: {kill: {down-for: 500ms}}}"
AFTERWARDS = "  - {name: afterwards, at: 30s, for: 1s, on: {role: member, count: 1}, fault: freeze}"


def experiment(step: str, *, more: str = "", duration: str = "32s") -> str:
    return short.text(steps=f"steps:\n{step}\n{more}", duration=duration, rate="60/s")


def assert_dirty(run: Ending, step: str, why: str) -> None:
    """The run ends with 13, its verdict names the step and why, and no later step was begun."""
    assert run.wait() == 13, run.said()
    assert run.recording is not None
    judgement = read_verdict(run.recording)
    assert judgement.exit_code == 13, judgement.sentence
    assert step in judgement.sentence, judgement.sentence
    assert "chaosgate heal" in judgement.sentence
    assert why in judgement.sentence, judgement.sentence
    assert [e.step for e in run.events if e.kind is EventKind.INJECT] == [step]
    proofs = [e.data["proof"] for e in run.events if e.kind is EventKind.HEAL and e.data]
    assert Proof.CONFIRMED not in proofs
    assert run.judge()[0] == 13  # judged again, it is no better


def test_a_member_that_exits_at_its_second_start_makes_the_target_dirty(tmp_path, wrapped):
    """It is started again, as the undo says; that it does not run is seen by looking."""
    once = 'if [ -e started ]; then echo no second start >&2; exit 1; fi; touch started; exec {real} "$@"'
    yaml = experiment(KILL, more=AFTERWARDS)
    with Ending(tmp_path, yaml, "--version", f"etcd={wrapped(once)}") as run:
        assert_dirty(run, "kill", "does not run")
        (victim,) = next(e.data["victims"] for e in run.events if e.kind is EventKind.INJECT)
        assert f"{victim}: signal: still there" in run.said()
        assert run.heal()[0] == 0
        run.assert_nothing_left()


def test_an_undo_that_is_refused_makes_the_target_dirty(tmp_path, wrapped):
    """Once all three run, their program is no longer one that can be executed, as in a botched upgrade."""
    once = 'touch "$0$1"; [ "$(ls "$0"--name=* | wc -l)" = 3 ] && chmod a-x "$0"; exec {real} "$@"'
    yaml = experiment(KILL, more=AFTERWARDS)
    with Ending(tmp_path, yaml, "--version", f"etcd={wrapped(once)}") as run:
        assert_dirty(run, "kill", "Permission denied")
        assert run.heal()[0] == 0
        run.assert_nothing_left()


def test_too_many_errors_end_a_run_and_what_is_in_force_is_healed(tmp_path):
    cut = "  - {name: cut, at: 500ms, for: 25s, on: {role: member, count: 2}, fault: {partition: {from: all}}}"
    limits = f"{AFTERWARDS}\nabort-when: {{error-share: 30%}}\nblast-radius: {{member: 67%}}"
    with Ending(tmp_path, experiment(cut, more=limits)) as run:
        code = run.wait()
        run.assert_nothing_left()
        events = run.events
        (abort,) = [e for e in events if e.kind is EventKind.ABORT]
        assert abort.detail.startswith("error share "), abort
        heals = [e for e in events if e.kind is EventKind.HEAL and e.step == "cut"]
        assert heals[0].detail == "asked"
        assert heals[0].at_ns > abort.at_ns
        assert [e.data["proof"] for e in heals[1:]] == [Proof.CONFIRMED] * 2, heals
        assert {e.node for e in heals[1:]} == set(next(e for e in events if e.kind is EventKind.INJECT).data["victims"])
        assert [e.detail for e in events if e.kind is EventKind.RUN] == ["begin", "aborted"]
        assert not [e for e in events if e.step == "afterwards"]
        assert code in NO_YES, run.said()
        judgement = read_verdict(run.recording)
        assert judgement.exit_code == code
        assert "the run was aborted: error share" in " | ".join(judgement.verdicts[0].numbers["problems"])
