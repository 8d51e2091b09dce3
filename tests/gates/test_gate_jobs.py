"""What a job's readers and counters show: latency and gaps of its output, lag, checkpoints, restarts, stalls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.clock import NS
from chaos.model import EventKind, Outcome, Span, Status
from chaos.testing import RecordingBuilder, check_gate
from gates.checkpoints import Checkpoints
from gates.counters import Series
from gates.lag import Lag
from gates.orphaned_transactions import OrphanedTransactions
from gates.output_continues import OutputContinues
from gates.output_latency import OutputLatency
from gates.output_recovery import OutputRecovery
from gates.restarts import Restarts

GATES = (
    OutputLatency(limit_s=1),
    OutputContinues(limit_s=1),
    OutputRecovery(limit_s=1),
    Lag(limit_s=1),
    Checkpoints(),
    Checkpoints(duration_s=1),
    Restarts(),
    OrphanedTransactions(),
)


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: type(gate).__name__)
def test_they_do_what_every_gate_must(gate):
    check_gate(gate)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: OutputLatency(limit_s=0), "limit: a latency"),
        (lambda: OutputLatency(limit_s=1, percentile=100), "percentile: 100"),
        (lambda: OutputContinues(limit_s=0), "limit: a gap"),
        (lambda: OutputRecovery(limit_s=0), "limit: above 0"),
        (lambda: OutputRecovery(limit_s=1, bucket_s=0.01), "bucket: too short"),
        (lambda: OutputRecovery(limit_s=1, within_s=-1), "within: 0 or more"),
        (lambda: Lag(limit_s=0), "limit: above 0"),
        (lambda: Lag(limit_s=1, growth_share=0), "growth: 0 %"),
        (lambda: Checkpoints(floor_share=1), "floor: 100 %"),
        (lambda: Restarts(per_fault=-1), "per-fault: 0 or more"),
        (lambda: OrphanedTransactions(limit_s=0), "limit: above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, why):
    with pytest.raises(ValueError, match=f"^{why}"):
        make()


# ---------------------------------------------------------------- output


def produced(records=500, *, every_s=0.01, delay_ms=500):
    b = RecordingBuilder()
    for number in range(records):
        b.produce(number % 4)
        b.clock.advance(every_s)
    b.topics.pipe(delay_ms=delay_ms)
    return b


def unsee(b, rows):
    for row in rows:
        row["seen_ns"] = None


def test_output_that_is_seen_in_time_passes_and_the_way_is_split():
    verdict = OutputLatency(limit_s=0.6).judge(produced().build())
    assert verdict.status is Status.PASS
    assert verdict.summary == "p99 from sending to out during steady: 500 ms, limit 600 ms (n = 500)"
    assert verdict.numbers["into_log_p50_s"] == pytest.approx(0.001)
    assert verdict.numbers["onward_p50_s"] == pytest.approx(0.499)
    assert verdict.numbers["to_operator_p50_s"] == pytest.approx(0.099, abs=0.001)
    assert verdict.numbers["operator_to_visible_p50_s"] == pytest.approx(0.4, abs=0.001)


def test_a_job_that_does_not_tell_when_it_had_a_record_is_split_in_two():
    b = produced()
    for row in b.topics.rows["out"]:
        row["worked_ms"] = None
    numbers = OutputLatency(limit_s=0.6).judge(b.build()).numbers
    assert numbers["onward_p50_s"] == pytest.approx(0.499)
    assert numbers["to_operator_p50_s"] is None


def test_output_that_is_seen_late_fails():
    assert OutputLatency(limit_s=0.4).judge(produced().build()).status is Status.FAIL


def test_records_that_never_came_out_were_late_for_ever():
    b = produced()
    b.topics.rows["out"] = b.topics.rows["out"][:400]
    verdict = OutputLatency(limit_s=0.6).judge(b.build())
    assert verdict.status is Status.FAIL
    assert "never answered" in verdict.summary
    assert verdict.numbers["never"] == 100


def test_records_that_could_not_be_sent_were_late_for_ever():
    b = produced(400)
    for _ in range(100):
        b.produce(1, outcome=Outcome.FAILED, logged=False)
    b.clock.advance(1)
    assert OutputLatency(limit_s=0.6).judge(b.build()).status is Status.FAIL


def test_records_that_were_visible_nobody_knows_when_do_not_decide():
    b = produced()
    unsee(b, b.topics.rows["out"][100:200])
    verdict = OutputLatency(limit_s=0.6).judge(b.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary.startswith("100 records of out were visible nobody knows when; p99 from")
    assert OutputLatency(limit_s=0.4).judge(b.build()).status is Status.FAIL


def test_an_output_that_was_not_read_to_its_end_convicts_nobody_of_being_late():
    b = produced()
    b.topics.rows["out"] = b.topics.rows["out"][:400]
    b.topics.ends["out"] = {"complete": False}
    assert OutputLatency(limit_s=0.6).judge(b.build()).status is Status.INCONCLUSIVE


def test_the_first_time_that_a_record_was_seen_counts():
    b = produced()
    for row in b.topics.rows["out"][:100]:
        b.topics.append("out", **{k: v for k, v in row.items() if k != "offset"} | {"seen_ns": row["seen_ns"] + 9 * NS})
    assert OutputLatency(limit_s=0.6).judge(b.build()).status is Status.PASS


def test_too_few_records_say_how_many_are_needed():
    verdict = OutputLatency(limit_s=0.6).judge(produced(50).build())
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary == "50 records during steady, p99 needs at least 368"


@pytest.mark.parametrize(("limit_s", "status"), [(1.0, Status.PASS), (0.2, Status.FAIL)])
def test_what_was_sent_just_before_a_fault_is_late_by_the_fault(limit_s, status):
    """Output comes 300 ms late, and what the fault met half a second before it never comes."""
    b = RecordingBuilder()

    def records(count):
        for number in range(count):
            b.produce(number % 4)
            b.clock.advance(0.002)

    records(2000)
    begun_ns = b.clock.now_ns()
    with b.fault("kill", "etcd1"):
        records(500)
    b.topics.pipe(delay_ms=300)
    for row in b.topics.rows["out"]:
        if begun_ns - NS / 2 < row["seen_ns"] - 0.3 * NS:
            row["seen_ns"] += 60 * NS
    verdict = OutputLatency(limit_s=limit_s).judge(b.build())
    assert verdict.status is status, verdict
    assert verdict.numbers["n"] == pytest.approx(500 * (4 - limit_s), abs=2)


def test_a_steady_window_shorter_than_the_limit_can_not_tell():
    b = RecordingBuilder()
    for number in range(500):
        b.produce(number % 4)
        b.clock.advance(0.002)
    with b.fault("kill", "etcd1"):
        b.clock.advance(1)
    b.topics.pipe(delay_ms=3)
    assert OutputLatency(limit_s=1.5).judge(b.build()).status is Status.INCONCLUSIVE
    assert OutputLatency(limit_s=1.5).needs == {Span.STEADY: 2.5}


@pytest.mark.parametrize("gate", [OutputLatency(limit_s=1), OutputContinues(limit_s=1)])
def test_an_output_that_nobody_followed_or_read_cannot_be_told(gate):
    b = produced()
    unsee(b, b.topics.rows["out"])
    assert gate.judge(b.build()).summary == "nobody was seen to read out while the run went on"
    b.topics.rows.clear()
    assert gate.judge(b.build()).summary == "topic out was not read back after the run"


def silent(start, end):
    """A run whose output was silent between two records."""
    b = produced(delay_ms=5)
    b.topics.rows["out"] = [row for place, row in enumerate(b.topics.rows["out"]) if not start <= place < end]
    return b


def test_output_that_keeps_coming_passes_and_a_gap_fails_and_is_placed():
    assert OutputContinues(limit_s=0.5).judge(silent(0, 0).build()).status is Status.PASS
    verdict = OutputContinues(limit_s=0.5).judge(silent(200, 300).build())
    assert verdict.status is Status.FAIL
    assert verdict.summary == "the longest silence of out during run: 1.01 s from t = 2.0 s on, limit 500 ms"


@pytest.mark.parametrize(("start", "end"), [(0, 100), (400, 500)])
def test_silence_at_either_end_is_a_gap(start, end):
    verdict = OutputContinues(limit_s=0.5).judge(silent(start, end).build())
    assert verdict.status is Status.FAIL
    assert verdict.numbers["value_s"] == pytest.approx(1, abs=0.02)


def test_a_reader_that_stopped_is_no_output_that_stopped():
    b = produced(delay_ms=5)
    unsee(b, b.topics.rows["out"][400:])
    verdict = OutputContinues(limit_s=0.5).judge(b.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary.endswith("100 records are there, so it may have stopped")


def test_of_copies_whoever_is_first_counts():
    """One stands still for a second, the other does not; then the other way round; then both."""

    def judged(*of_copy):
        b = silent(200, 300)
        b.topics.rows["out-2"] = [dict(row) for place, row in enumerate(produced_rows()) if place not in of_copy]
        return OutputContinues(limit_s=0.5, copies=("out-2",)).judge(b.build())

    assert judged().status is Status.PASS
    assert judged(*range(300, 400)).status is Status.PASS
    both = judged(*range(250, 350))
    assert both.status is Status.FAIL
    assert both.numbers["value_s"] == pytest.approx(0.51, abs=0.02)


def produced_rows():
    return produced(delay_ms=5).topics.rows["out"]


def test_a_record_that_a_copy_had_before_is_nothing_new():
    b = silent(200, 300)
    stale = [dict(row) for row in b.topics.rows["out"][:100]]
    for row, place in zip(stale, range(200, 300), strict=True):
        row["seen_ns"] = produced_rows()[place]["seen_ns"]
    b.topics.rows["out-2"] = stale
    assert OutputContinues(limit_s=0.5, copies=("out-2",)).judge(b.build()).status is Status.FAIL
    assert OutputContinues(limit_s=0.5, copies=("out-3",)).judge(b.build()).summary == (
        "topic out-3 was not read back after the run"
    )


def test_a_gap_that_begins_in_a_fault_and_ends_later_counts_whole_for_the_fault():
    b = RecordingBuilder()

    def records(count):
        for _ in range(count):
            b.produce(1)
            b.clock.advance(0.01)

    records(100)
    with b.fault("kill", "etcd1"):
        b.clock.advance(0.5)
    b.clock.advance(0.5)
    records(100)
    b.topics.pipe(delay_ms=1)
    found = {during: OutputContinues(limit_s=0.1, during=during).judge(b.build()) for during in Span}
    assert found[Span.FAULT].numbers["value_s"] == pytest.approx(1.01)
    assert found[Span.RECOVERY].numbers["value_s"] == pytest.approx(1.01)
    assert found[Span.RUN].numbers["value_s"] == pytest.approx(1.01)


def recovering(*, outage_s, after_s=6.0, lost=0, dribble=1):
    """A run of 100 records a second whose output stands still from t = 4 s for a while, and then comes at once.

    Every `dribble`th record of the outage still comes in time; `lost` never do.
    """
    b = RecordingBuilder()

    def records(for_s):
        for number in range(round(for_s * 100)):
            b.produce(number % 4)
            b.clock.advance(0.01)

    records(4)
    begun_ns = b.clock.now_ns()
    with b.fault("kill", "etcd1"):
        records(1)
    records(after_s)
    b.topics.pipe(delay_ms=5)
    back_ns = begun_ns + round(outage_s * NS)
    late = [row for row in b.topics.rows["out"] if begun_ns <= row["seen_ns"] < back_ns]
    for number, row in enumerate(late):
        if dribble == 1 or number % dribble:
            row["seen_ns"] = back_ns
    for row in late[:lost]:
        b.topics.rows["out"].remove(row)
    return b


def test_output_that_makes_up_for_an_outage_passes_and_its_shape_is_told():
    verdict = OutputRecovery(limit_s=3, bucket_s=0.5).judge(recovering(outage_s=3).build())
    assert verdict.status is Status.PASS, verdict
    (one,) = verdict.numbers["occurrences"]
    assert verdict.numbers["value_s"] == pytest.approx(2.0, abs=0.2)  # of 3 s after the injection 1 s is the fault
    assert one["late_s"] == pytest.approx(3.0, abs=0.2)
    assert one["detect_s"] == pytest.approx(0.3, abs=0.1)  # so long until a quarter of a second of traffic is owed
    assert (one["dip_share"], one["dip_s"]) == (1.0, pytest.approx(3.0, abs=0.5))


def test_output_that_is_back_too_late_or_owes_too_much_fails():
    b = recovering(outage_s=5)
    assert OutputRecovery(limit_s=3, bucket_s=0.5).judge(b.build()).status is Status.FAIL
    late = OutputRecovery(limit_s=5, late_s=2, bucket_s=0.5).judge(b.build())
    assert late.status is Status.FAIL
    assert late.summary.startswith("not made up for after kill#0: ")
    assert OutputRecovery(limit_s=5, late_s=6, bucket_s=0.5).judge(b.build()).status is Status.PASS


def test_a_result_that_is_lost_is_never_caught_up_with():
    assert OutputRecovery(limit_s=3, bucket_s=0.5).judge(recovering(outage_s=2, lost=50).build()).status is Status.FAIL


def test_a_backlog_that_is_worked_off_in_steady_makes_nobody_owe_more_afterwards():
    """A job that is cold falls behind before t = 0, and puts out more than comes in until it has caught up."""
    b = RecordingBuilder()

    def records(for_s):
        for number in range(round(for_s * 100)):
            b.produce(number % 4)
            b.clock.advance(0.01)

    begun_ns = b.clock.now_ns()
    records(4)
    with b.fault("kill", "etcd1"):
        records(1)
    records(20)
    b.topics.pipe(delay_ms=5)
    for row in b.topics.rows["out"]:
        row["seen_ns"] = max(row["seen_ns"], begun_ns + round(2 * NS))
    verdict = OutputRecovery(limit_s=3, bucket_s=0.5).judge(b.build())
    assert verdict.status is Status.PASS, verdict
    assert verdict.numbers["value_s"] == 0


@pytest.mark.parametrize("after_s", [6.0, 6.3, 6.7, 9.4, 12.3])
def test_what_is_lost_is_owed_at_every_moment_of_a_commit(after_s):
    """Output comes once a second: just after a commit hardly anything else is owed."""
    b = recovering(outage_s=2, lost=120, after_s=after_s)
    for row in b.topics.rows["out"]:
        row["seen_ns"] = -(-row["seen_ns"] // NS) * NS
    verdict = OutputRecovery(limit_s=5, bucket_s=0.5).judge(b.build())
    assert verdict.status is Status.FAIL, verdict


def test_output_that_is_back_in_time_and_not_watched_for_a_bucket_can_not_tell():
    """A second behind the fault's end, and the traffic ends a little later: neither held, nor too late."""
    short = recovering(outage_s=2, after_s=1.3).build()
    assert OutputRecovery(limit_s=1.2, bucket_s=0.5).judge(short).status is Status.INCONCLUSIVE
    assert OutputRecovery(limit_s=0.5, bucket_s=0.5).judge(short).status is Status.FAIL


@pytest.mark.parametrize(
    ("silent_s", "status"),
    [pytest.param(0.4, Status.PASS, id="a hiccup"), pytest.param(3, Status.FAIL, id="a relapse")],
)
def test_output_that_is_late_again_has_not_recovered_unless_it_was_a_hiccup(silent_s, status):
    b = recovering(outage_s=1.5, after_s=12)
    again_ns = max(row["seen_ns"] for row in b.topics.rows["out"]) - 6 * NS
    for row in b.topics.rows["out"]:
        if 0 <= row["seen_ns"] - again_ns < silent_s * NS:
            row["seen_ns"] = again_ns + round(silent_s * NS)
    verdict = OutputRecovery(limit_s=3, bucket_s=0.5).judge(b.build())
    assert verdict.status is status, verdict


def later(b, *, stalls, stall_s, every_s, from_end_s):
    """Let output stand still again, some times."""
    rows = b.topics.rows["out"]
    first_ns = max(row["seen_ns"] for row in rows) - round(from_end_s * NS)
    for stall in range(stalls):
        since_ns = first_ns + round(stall * every_s * NS)
        for row in rows:
            if 0 <= row["seen_ns"] - since_ns < stall_s * NS:
                row["seen_ns"] = since_ns + round(stall_s * NS)
    return b


def test_hiccups_without_end_are_none():
    b = later(recovering(outage_s=1.5, after_s=20), stalls=6, stall_s=0.65, every_s=2.5, from_end_s=16)
    assert OutputRecovery(limit_s=3, bucket_s=0.5).judge(b.build()).status is Status.FAIL


@pytest.mark.parametrize(("limit_s", "status"), [(30, Status.INCONCLUSIVE), (3, Status.FAIL)])
def test_output_that_stops_at_the_end_of_the_traffic_is_no_hiccup(limit_s, status):
    b = recovering(outage_s=1.5, after_s=12)
    end_ns = b.clock.now_ns()
    for row in b.topics.rows["out"]:
        if row["seen_ns"] > end_ns - round(0.45 * NS):
            row["seen_ns"] = end_ns + NS
    verdict = OutputRecovery(limit_s=limit_s, bucket_s=0.5, within_s=0.1).judge(b.build())
    assert verdict.status is status, verdict


@pytest.mark.parametrize(("within_s", "status"), [(0.25, Status.PASS), (0, Status.FAIL)])
def test_a_few_seconds_do_not_show_the_worst_of_the_usual(within_s, status):
    """Output that comes 5 ms after its input in steady, and 150 ms after it from the fault on."""
    b = recovering(outage_s=0)
    fault_ns = min(event.at_ns for event in b.events if event.kind is EventKind.INJECT)
    for row in b.topics.rows["out"]:
        row["seen_ns"] += 150_000_000 * (row["seen_ns"] > fault_ns)
    verdict = OutputRecovery(limit_s=3, bucket_s=0.5, within_s=within_s).judge(b.build())
    assert verdict.status is status, verdict


def test_a_cold_start_excuses_no_loss():
    b = recovering(outage_s=0.9, lost=80, after_s=9)
    begun_ns = min(row["seen_ns"] for row in b.topics.rows["out"])
    for row in b.topics.rows["out"]:
        row["seen_ns"] = max(row["seen_ns"], begun_ns + round(1.5 * NS))
    assert OutputRecovery(limit_s=5, bucket_s=0.5).judge(b.build()).status is Status.FAIL


def test_output_without_a_dip_is_caught_up_at_once():
    verdict = OutputRecovery(limit_s=1, bucket_s=0.5).judge(recovering(outage_s=0).build())
    assert verdict.status is Status.PASS
    assert verdict.numbers["value_s"] == 0
    assert verdict.numbers["occurrences"][0]["detect_s"] is None


def test_traffic_that_ends_before_the_limit_can_not_tell_of_a_recovery():
    verdict = OutputRecovery(limit_s=9, bucket_s=0.5).judge(recovering(outage_s=30, after_s=2).build())
    assert verdict.status is Status.INCONCLUSIVE
    assert "too short to tell" in verdict.summary


def test_a_reader_that_stopped_is_no_output_that_is_late():
    b = recovering(outage_s=0)
    unsee(b, b.topics.rows["out"][600:])
    verdict = OutputRecovery(limit_s=1, bucket_s=0.5).judge(b.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert "its reader may have stopped" in verdict.summary


# ---------------------------------------------------------------- counters


@given(st.lists(st.integers(0, 5), max_size=20), st.sets(st.integers(0, 19)))
def test_a_counter_that_begins_anew_loses_nothing_that_it_said(steps, resets):
    values, total, counted = [0.0], 0, 0.0
    for place, step in enumerate(steps):
        anew = place in resets and step < counted
        counted = step if anew else counted + step
        values.append(float(counted))
        total += step
    series = Series(times_ns=np.arange(len(values)) * NS, values=np.array(values))
    assert series.growth([(0, 100 * NS)]) == (total, len(steps))


def counting(**counters):
    """A run of a second an answer; None is no answer."""
    b = RecordingBuilder()
    for answers in zip(*counters.values(), strict=True):
        for name, value in zip(counters, answers, strict=True):
            b.reading(name.replace("_", "-"), "", value, why="" if value is not None else "timeout")
        b.clock.advance(1)
    return b


def checked(completed, failed, gate=None, **more):
    gate = gate or Checkpoints()
    return gate.judge(counting(checkpoints_completed=completed, checkpoints_failed=failed, **more).build())


def test_checkpoints_that_complete_pass():
    verdict = checked(range(31), [2] * 31)
    assert verdict.status is Status.PASS
    assert verdict.summary == "30 of 30 checkpoints completed during run, floor 80 %"


def test_checkpoints_that_fail_fail():
    verdict = checked([0] * 31, range(31))
    assert verdict.status is Status.FAIL
    assert verdict.numbers["value_share"] == 1


def test_what_failed_before_the_run_does_not_count():
    assert checked(range(100, 131), [50] * 31).numbers["n"] == 30


def test_too_few_checkpoints_say_how_many_more_would_tell():
    verdict = checked(range(6), [0] * 6)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary.endswith("; about 12 more would tell")


def test_a_job_manager_that_begins_anew_does_not_hide_its_failures():
    verdict = checked([10, 11, 12, 0, 1, 2], [0, 0, 0, 3, 4, 5])
    assert (verdict.numbers["completed"], verdict.numbers["n"]) == (4, 9)


def test_no_answer_is_no_checkpoint():
    assert checked([None] * 5, [None] * 5).summary == "nobody counted checkpoints during run"
    assert checked([3] * 5, [0] * 5).summary.startswith("no checkpoint ended during run; about 17 are needed")


def test_a_checkpoint_that_took_too_long_fails():
    gate = Checkpoints(duration_s=2)
    took = [0.5] * 20 + [3.0] + [0.5] * 10
    assert checked(range(31), [0] * 31, gate, checkpoint_duration=took).status is Status.FAIL
    assert checked(range(31), [0] * 31, gate, checkpoint_duration=[0.5] * 31).status is Status.PASS
    assert checked(range(31), [0] * 31, gate).status is Status.INCONCLUSIVE


def restarted(before, during, after, state="RUNNING", gate=None):
    b = RecordingBuilder()

    def tell(count):
        if count is not None:
            b.reading("flink-restarts", "", count)
        b.clock.advance(1)

    for count in before:
        tell(count)
    with b.fault("kill", "etcd1"):
        for count in during:
            tell(count)
    for count in after:
        tell(count)
    if state:
        b.reading("flink-job-state", "", float(state == "RUNNING"), text=state)
        b.clock.advance(1)
    return (gate or Restarts()).judge(b.build())


def test_a_restart_for_a_fault_is_allowed_and_another_one_is_not():
    assert restarted([0, 0], [0, 1], [1, 1]).status is Status.PASS
    verdict = restarted([0, 0], [0, 1], [2, 2])
    assert verdict.status is Status.FAIL
    assert verdict.summary == "2 restarts in 1 fault, at most 1"
    assert restarted([0, 0], [0, 1], [2, 2], gate=Restarts(per_fault=2)).status is Status.PASS


def test_a_restart_before_anything_was_broken_fails():
    assert restarted([0, 1], [1], [1]).summary == "1 restart before anything was broken"


def test_a_job_that_does_not_run_in_the_end_fails():
    verdict = restarted([0], [0], [0], state="FAILED")
    assert verdict.status is Status.FAIL
    assert verdict.summary.startswith("the job was FAILED when the traffic ended")


def test_restarts_that_nobody_counted_and_an_end_that_nobody_saw_cannot_be_told():
    assert restarted([None], [None], [None]).summary == "nobody counted the job's restarts"
    assert restarted([0], [0], [0], state="").status is Status.INCONCLUSIVE


# ---------------------------------------------------------------- transactions


STALLS = OrphanedTransactions(limit_s=5)


def stable(lags, *, gate=STALLS, text="out/0", end=None):
    b = RecordingBuilder()
    b.topics.append("out", key=0, n=0)
    b.topics.ends["out"] = end or {}
    for lag in lags:
        b.reading("last-stable-lag", "kafka1", lag, text=text, why="" if lag is not None else "timeout")
        b.clock.advance(1)
    b.clock.advance(1)
    return gate.judge(b.build())


def test_a_lag_that_falls_with_every_commit_is_no_orphan():
    assert stable([100, 200, 50, 120, 10, 300] * 5).status is Status.PASS
    assert stable([0] * 20).status is Status.PASS


def test_a_last_stable_offset_that_stands_still_is_found_and_placed():
    verdict = stable([0, 10, 0, 5, *range(10, 20), 0, 0])
    assert verdict.status is Status.FAIL
    assert verdict.certain
    assert verdict.summary.endswith("stood still for 10 s at most, limit 5 s: out/0 from t = 3.0 s on")


def test_an_idle_partition_behind_an_open_transaction_is_found():
    assert stable([7] * 10).status is Status.FAIL


def test_no_answer_ends_a_stall_because_nobody_knows():
    assert stable([1, 2, 3, None, 4, 5, 6, None]).status is Status.PASS


def test_a_transaction_that_is_open_in_the_end_fails_for_certain():
    verdict = stable([0] * 5, end={"last_stable": {0: 0, 1: 0}, "settled": False})
    assert verdict.status is Status.FAIL
    assert verdict.summary == "a transaction was still open when all had ended: out/0 at offset 0"


def test_an_end_that_nobody_looked_at_cannot_acquit():
    assert stable([0] * 5, end={"settled": False}).status is Status.INCONCLUSIVE
    assert stable([], end={}).summary == "nobody looked at the last stable offsets"


def test_another_topics_transactions_are_another_matter():
    gate = OrphanedTransactions(limit_s=5, topic="out")
    assert stable([7] * 10, gate=gate, text="other/0").summary == "nobody looked at the last stable offsets"
    assert stable([7] * 10, gate=gate).status is Status.FAIL


# ---------------------------------------------------------------- lag


def lagging(before, after, gate=None, *, recovery_s=0):
    """Steady and recovery with an answer each half second, traffic all the while."""
    b = RecordingBuilder()

    def tell(answers):
        for lag in answers:
            b.reading("lag", "", lag, text="in", why="" if lag is not None else "timeout")
            b.traffic(0.5)

    tell(before)
    with b.fault("kill", "etcd1"):
        b.traffic(1)
    tell(after)
    b.traffic(recovery_s)
    return (gate or Lag(limit_s=3)).judge(b.build())


FLAT = [10, 12, 9, 11] * 6


def test_a_lag_that_drains_in_time_passes():
    verdict = lagging(FLAT, [500, 300, 100, *FLAT])
    assert verdict.status is Status.PASS, verdict.summary
    assert verdict.numbers["value_s"] == pytest.approx(1.5)
    assert verdict.summary.endswith("back within 1.5 s after every fault, limit 3 s")


def test_a_lag_that_drains_too_late_fails():
    verdict = lagging(FLAT, [500] * 8 + FLAT)
    assert verdict.status is Status.FAIL
    assert verdict.numbers["value_s"] == pytest.approx(4)


def test_a_lag_that_never_drains_fails():
    assert "not back within 3 s after a fault" in lagging(FLAT, [500] * 20).summary
    assert lagging(FLAT, [500] * 20).status is Status.FAIL


def test_a_lag_that_comes_back_has_not_drained():
    assert lagging(FLAT, [500, 10, 10, 500, 500, 500, 500, 500, 500, *FLAT]).status is Status.FAIL


def test_traffic_too_short_to_see_it_drained_cannot_be_told():
    verdict = lagging(FLAT, [500] * 4)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary.endswith("too little traffic after a fault to see it drained: 5 s would do")


def test_silence_after_a_fault_is_no_drained_lag():
    assert lagging(FLAT, [None] * 20).status is Status.INCONCLUSIVE


def test_a_lag_that_grows_in_steady_fails_and_one_that_swings_does_not():
    growing = [50 * number for number in range(24)]
    verdict = lagging(growing, FLAT)
    assert verdict.status is Status.FAIL
    assert verdict.summary.startswith("the lag of in grows by 100/s in steady (100 to 100), limit 10/s")
    assert lagging([0, 20] * 12, FLAT).status is Status.PASS


def test_a_lag_that_may_grow_or_not_needs_a_longer_steady_window():
    verdict = lagging([0, 400, 100, 900, 300, 800, 200], [0] * 20)
    assert verdict.status is Status.INCONCLUSIVE
    assert "a longer steady window would tell" in verdict.summary


def test_too_few_looks_in_steady_and_none_at_all_cannot_be_told():
    assert lagging([1, 2], FLAT).summary == "the lag of in was seen 2 times in steady, 6 are needed"
    assert lagging([], []).summary == "nobody measured how far the job is behind"
    assert lagging(FLAT, FLAT, Lag(limit_s=3, topic="x")).summary == "nobody measured how far the job is behind x"


def test_how_far_behind_is_usual_can_be_said():
    assert lagging(FLAT, [500] * 20, Lag(limit_s=3, records=600)).status is Status.PASS
