"""No unexpected exit: what ended, restarted or cried out, and what explains it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from chaos.clock import NS
from chaos.model import Cut, EventKind, Freeze, Impairment, Power, Shape, Signal, StackAction, Status
from chaos.stacks import STACKS, StackKind
from chaos.targets.netns.lab import _state
from chaos.testing import RecordingBuilder, check_gate
from gates.no_unexpected_exit import NoUnexpectedExit


def judged(builder: RecordingBuilder):
    return NoUnexpectedExit().judge(builder.build())


def with_fault(action, *, code: int = -9, node: str = "etcd1", started: bool = True):
    builder = RecordingBuilder(rate_per_s=10)
    builder.traffic(2)
    with builder.fault("fault", "etcd1", action=action):
        builder.traffic(1)
        builder.process(node, "ended", exit_code=code)
        builder.traffic(1)
        if started:
            builder.process(node, "started", starts=2)
    builder.traffic(1)
    return builder


def test_it_does_what_every_gate_must():
    check_gate(NoUnexpectedExit())


def ended(builder: RecordingBuilder, *, code: int = -9, killed: bool | None = None, node: str = "etcd1"):
    builder.process(node, "ended", exit_code=code)
    event = builder.events[-1]
    builder.events[-1] = replace(event, data={**event.data, "killed": killed})


@pytest.mark.parametrize(("killed", "status"), [(None, Status.PASS), (True, Status.PASS), (False, Status.FAIL)])
def test_a_kill_explains_only_the_sigkill_that_we_sent(killed, status):
    builder = RecordingBuilder(rate_per_s=10)
    builder.traffic(1)
    with builder.fault("kill", "etcd1"):
        builder.traffic(1)
        ended(builder, killed=killed)
    builder.traffic(1)
    assert judged(builder).status is status


def test_a_sigkill_just_after_the_heal_is_somebody_else_s():
    builder = RecordingBuilder(rate_per_s=10)
    builder.traffic(1)
    with builder.fault("kill", "etcd1"):
        builder.traffic(1)
    builder.traffic(0.5)
    ended(builder)
    builder.traffic(1)
    assert judged(builder).status is Status.FAIL


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"code": -15}, Status.PASS),
        ({"code": -15, "node": "etcd2"}, Status.FAIL),
        ({"code": -9, "killed": True}, Status.PASS),
        ({"code": -9, "killed": False}, Status.FAIL),
        ({"code": -9, "killed": None}, Status.FAIL),
    ],
)
def test_an_operation_explains_the_polite_end_of_its_own_node_and_no_sigkill_of_others(told, status):
    builder = RecordingBuilder(rate_per_s=10)
    builder.traffic(1)
    with builder.fault("restart", "etcd1", action=StackAction(operation="restart")):
        builder.traffic(1)
        ended(builder, **told)
    builder.traffic(1)
    assert judged(builder).status is status


@pytest.mark.parametrize(("node", "status"), [("etcd1", Status.FAIL), ("etcd2", Status.PASS), ("etcd3", Status.FAIL)])
def test_of_nodes_restarted_one_by_one_only_the_one_at_hand_may_end(node, status):
    builder = RecordingBuilder(rate_per_s=10)
    builder.traffic(1)
    with builder.fault("roll", "etcd1", "etcd2", "etcd3", action=StackAction(operation="restart")):
        for one in ("etcd1", "etcd2", "etcd3"):
            builder.event(EventKind.NOTE, step="roll", node=one, data={"operation": "restart"})
            builder.traffic(1)
            if one == "etcd2":
                ended(builder, code=0, node=node)
            builder.clock.advance(0.1)
    builder.traffic(1)
    assert judged(builder).status is status


def test_a_lab_tells_which_sigkill_was_ours():
    row = {"node": "n1", "name": "etcd", "pid_host": 7, "started_ns": 1, "starts": 1, "exit_code": -9, "ended_ns": 2}
    assert [_state({**row, "killed": killed}).killed for killed in (True, False)] == [True, False]


def test_processes_that_only_run_pass():
    builder = RecordingBuilder()
    builder.traffic(1)
    assert judged(builder).status is Status.PASS


@pytest.mark.parametrize(
    ("action", "code"),
    [(Signal(), -9), (Power(), -9), (StackAction(operation="restart"), 0), (StackAction(operation="restart"), -15)],
)
def test_an_end_that_a_fault_or_an_operation_made_is_explained(action, code):
    assert judged(with_fault(action, code=code)).status is Status.PASS


@pytest.mark.parametrize("action", [Cut(peers=("etcd2",)), Signal(signal="STOP")])
def test_a_fault_that_kills_nobody_explains_no_end(action):
    verdict = judged(with_fault(action))
    assert verdict.status is Status.FAIL
    assert "etcd1/etcd ended by signal 9 at t = 3.0 s; no fault explains it" in verdict.summary


def test_a_process_that_panics_while_another_is_killed_fails_for_certain():
    for builder in (with_fault(Signal(), node="etcd2"), with_fault(Signal(), code=2)):
        assert judged(builder).status is Status.FAIL
    assert judged(with_fault(Signal(), code=2)).certain
    assert not judged(with_fault(Signal(), node="etcd2")).certain  # somebody's SIGKILL may be the machine's trouble


def test_a_panic_at_the_start_after_a_kill_fails():
    builder = with_fault(Signal())
    builder.process("etcd1", "ended", starts=2, exit_code=2)
    assert judged(builder).status is Status.FAIL


def test_an_end_told_twice_is_one_end():
    builder = RecordingBuilder()
    builder.process("etcd1", "ended", exit_code=2)
    builder.process("etcd1", "ended", exit_code=2)
    assert judged(builder).numbers["ends"] == 1


def test_a_restart_between_two_looks_needs_an_explanation_too():
    builder = RecordingBuilder(rate_per_s=10)
    builder.traffic(2)
    builder.process("etcd1", "started", starts=2)
    builder.traffic(2)
    verdict = judged(builder)
    assert verdict.status is Status.FAIL
    assert "etcd1/etcd restarted before t = 2.0 s, its end was not seen" in verdict.summary


def test_a_short_kill_explains_a_restart_whose_end_nobody_saw():
    builder = RecordingBuilder(rate_per_s=10)
    builder.traffic(2)
    with builder.fault("kill", "etcd1"):
        builder.traffic(0.1)
        builder.process("etcd1", "started", starts=2)
    builder.traffic(2)
    assert judged(builder).status is Status.PASS


def test_what_ends_in_the_tear_down_ends_as_it_should():
    builder = RecordingBuilder()
    builder.traffic(1)
    builder.end()
    builder.clock.advance(0.1)
    builder.process("etcd1", "ended", exit_code=1)
    assert judged(builder).status is Status.PASS


def test_nothing_known_of_processes_is_no_pass():
    builder = RecordingBuilder(begin=False)
    builder.phase("steady")
    builder.traffic(1)
    assert judged(builder).status is Status.INCONCLUSIVE


# ---------------------------------------------------------------- logs

PANIC = '{"level":"panic","msg":"failed to recover v3 backend from snapshot"}\n'
TORN = '{"level":"fatal","msg":"wal: crc mismatch"}\n'


SLOW = Shape(impairment=Impairment(delay_s=0.05))


def logging(text: str, *, node: str = "etcd1", action=None, stack: str = "etcd") -> RecordingBuilder:
    """A second of peace, one of a fault on etcd1 if there is one, and one of peace again."""
    builder = RecordingBuilder(rate_per_s=10)
    builder.run["stack"] = stack
    builder.logs[f"{node}-etcd.log"] = '{"level":"info","msg":"corrupt-check-time"}\n' + text
    builder.traffic(1)
    if action:
        with builder.fault("fault", "etcd1", action=action):
            builder.traffic(1)
    builder.traffic(1)
    return builder


def logged(text: str, **told):
    return judged(logging(text, **told))


def test_a_suspicious_line_fails_with_its_file_and_number():
    verdict = logged(PANIC)
    assert verdict.status is Status.FAIL
    assert "etcd1-etcd.log:2: " in verdict.summary
    assert not verdict.certain


def test_quiet_logs_pass():
    assert logged("").status is Status.PASS


def test_a_line_that_a_fault_may_cause_counts_only_on_a_node_that_met_none():
    assert logged(TORN).status is Status.FAIL
    assert logged(TORN, action=Power(), node="etcd2").status is Status.FAIL
    assert logged(TORN, action=Power()).status is Status.PASS
    assert logged(PANIC, action=Power()).status is Status.FAIL


@pytest.mark.parametrize("action", [SLOW, Cut(peers=("etcd2",)), Freeze(), Signal(), StackAction(operation="restart")])
def test_a_line_is_explained_by_such_a_fault_as_may_cause_it_and_by_no_other(action):
    verdict = logged(TORN, action=action)
    assert verdict.status is Status.FAIL
    assert "etcd1-etcd.log:2: " in verdict.summary


def test_no_fault_explains_a_full_or_broken_disk_as_there_is_none_that_fills_or_breaks_it():
    assert logged(TORN.replace("wal: crc mismatch", "no space left on device"), action=Power()).status is Status.FAIL


@pytest.mark.parametrize(
    ("after_s", "status"), [(-0.9, Status.FAIL), (0.9, Status.FAIL), (3.1, Status.PASS), (9, Status.PASS)]
)
def test_a_fault_explains_no_line_from_before_it(after_s, status):
    """The power goes three seconds after the wall clock was read; a second is left for the clocks."""
    builder = RecordingBuilder(rate_per_s=10)
    builder.run |= {
        "stack": "etcd",
        "started_utc": "2026-01-01T00:00:10.000+00:00",
        "started_ns": builder.clock.now_ns(),
    }
    said = f"2026-01-01T00:00:{10 + after_s:09.6f}Z"
    builder.logs["etcd1-etcd.log"] = f'{{"level":"fatal","ts":"{said}","msg":"wal: crc mismatch"}}\n'
    builder.traffic(3)
    with builder.fault("power", "etcd1", action=Power()):
        builder.traffic(1)
    builder.traffic(1)
    assert builder.events[-1].at_ns - builder.run["started_ns"] == 5 * NS
    assert judged(builder).status is status


def test_a_node_whose_name_begins_like_another_s_is_another():
    builder = logging("", action=Power())
    builder.process("etcd1-b", "started")
    builder.logs["etcd1-b-etcd.log"] = TORN
    assert judged(builder).status is Status.FAIL


@pytest.mark.parametrize("gone", [["etcd2-etcd.log"], ["etcd1-etcd.log", "etcd2-etcd.log", "etcd3-etcd.log"]])
def test_without_the_log_of_each_process_nothing_can_be_told(gone):
    builder = logging("")
    for name in gone:
        del builder.logs[name]
    verdict = judged(builder)
    assert verdict.status is Status.INCONCLUSIVE
    assert all(name in verdict.summary for name in gone)
    assert verdict.numbers["logs_missing"] == gone


def test_what_the_load_generator_writes_is_not_read_as_a_process_s_log():
    builder = logging("")
    builder.logs["generator-kv-0.log"] = PANIC
    assert judged(builder).summary.endswith("; nothing alarming in 3 logs")


def test_a_missing_log_excuses_no_alarming_line_in_another():
    builder = logging(PANIC)
    del builder.logs["etcd2-etcd.log"]
    assert judged(builder).status is Status.FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSettings:
    """The other stack has none."""


def test_a_stack_without_a_log_reader_is_judged_by_its_processes_and_the_verdict_says_so(monkeypatch):
    kind = StackKind(settings_type=NoSettings, roles=(), operations=(), make=lambda spec: spec)
    monkeypatch.setitem(STACKS, "other", kind)
    verdict = logged(PANIC, stack="other")
    assert verdict.status is Status.PASS
    assert verdict.summary.endswith("; their logs were not read: stack 'other' has no log reader")


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        ("unheard-of", "there is no stack 'unheard-of' here"),
        ("", "the recording does not say of which stack they are"),
    ],
)
def test_logs_of_a_stack_that_is_not_known_here_can_not_tell(stack, why):
    verdict = logged(PANIC, stack=stack)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary == f"their logs were not read: {why}"
    assert verdict.numbers["logs_unread"] == why


def test_a_stranger_s_stack_has_its_logs_read_by_its_own_reader(monkeypatch):
    reads = StackKind(
        settings_type=NoSettings, roles=(), operations=(), make=lambda spec: spec, log_reader=STACKS["etcd"].log_reader
    )
    monkeypatch.setitem(STACKS, "other", reads)
    assert logged(PANIC, stack="other").status is Status.FAIL
    assert logged("", stack="other").summary.endswith("; nothing alarming in 3 logs")
