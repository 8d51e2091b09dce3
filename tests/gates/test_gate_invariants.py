"""Acknowledged writes, equal replicas, linearizability: a violation is certain."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gates.replicas_equal
from chaos.model import Outcome, Reading, Status
from chaos.testing import RecordingBuilder, check_gate
from gates.acknowledged_writes import AcknowledgedWrites
from gates.linearizable import Linearizable
from gates.replicas_equal import ReplicasEqual


@pytest.mark.parametrize("gate", [AcknowledgedWrites(), ReplicasEqual(), Linearizable()])
def test_they_do_what_every_gate_must(gate):
    check_gate(gate)


# ---------------------------------------------------------------- acknowledged writes


ANY = AcknowledgedWrites(writes_min=1)


def wrote(*puts: dict, gate=ANY, **built):
    builder = RecordingBuilder()
    for put in puts:
        builder.put_once(**put)
    builder.traffic(1)
    return gate.judge(builder.build(**built))


def test_acknowledged_writes_that_are_there_pass():
    verdict = wrote({}, {})
    assert verdict.status is Status.PASS
    assert verdict.numbers["n"] == 2


def test_a_lost_acknowledged_write_fails_for_certain_and_is_named():
    verdict = wrote({}, {"read": None, "revision": 41})
    assert verdict.status is Status.FAIL
    assert verdict.certain
    assert "run/o/1 = 'v1', acknowledged by etcd1:2379 at revision 41, the final read found nothing" in verdict.summary
    assert verdict.numbers["writes"][0]["what"] == "lost"


def test_an_acknowledged_write_with_another_value_fails():
    assert wrote({"read": "other"}).numbers["writes"][0]["what"] == "altered"


def test_an_unknown_write_may_be_there_or_not_but_not_as_something_else():
    unknown = {"outcome": Outcome.UNKNOWN}
    assert wrote({}, unknown, unknown | {"read": None}).status is Status.PASS
    assert wrote({}, unknown | {"read": "other"}).status is Status.FAIL


def test_a_refused_write_that_appears_fails():
    verdict = wrote({}, {"outcome": Outcome.FAILED})
    assert verdict.status is Status.FAIL
    assert "refused, yet there" in verdict.summary
    assert wrote({}, {"outcome": Outcome.FAILED, "read": None}).status is Status.PASS


def test_no_acknowledged_write_no_answer():
    assert wrote({"outcome": Outcome.UNKNOWN}).status is Status.INCONCLUSIVE


def test_one_acknowledged_write_that_is_there_is_too_little_to_see_and_says_how_many_are_needed():
    verdict = wrote({}, gate=AcknowledgedWrites())
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary.startswith("1 acknowledged writes of write-once keys; 20 are needed: ")
    assert wrote(*[{}] * 19, gate=AcknowledgedWrites()).status is Status.INCONCLUSIVE
    assert wrote(*[{}] * 20, gate=AcknowledgedWrites()).status is Status.PASS


def test_one_write_that_is_lost_is_enough_to_say_no():
    assert wrote({"read": None}, gate=AcknowledgedWrites()).status is Status.FAIL


@pytest.mark.parametrize(
    ("before", "during", "after", "status"),
    [(50, 0, 4, Status.INCONCLUSIVE), (50, 4, 1, Status.PASS), (0, 0, 5, Status.PASS), (0, 5, 0, Status.PASS)],
)
def test_writes_from_before_the_first_fault_put_nothing_to_the_test(before, during, after, status):
    builder = RecordingBuilder()

    def write(times):
        for _ in range(times):
            builder.put_once()
        builder.traffic(1)

    write(before)
    with builder.fault("kill", "etcd1"):
        write(during)
    write(after)
    verdict = AcknowledgedWrites(writes_min=5).judge(builder.build())
    assert verdict.status is status
    assert ("since the first fault was injected; 5 are needed" in verdict.summary) == (status is not Status.PASS)


@pytest.mark.parametrize("gate", [AcknowledgedWrites, Linearizable])
def test_a_minimum_that_lets_silence_pass_is_refused(gate):
    name = "writes_min" if gate is AcknowledgedWrites else "observed_min"
    with pytest.raises(ValueError, match=rf"^{name.replace('_', '-')}: 0 would let silence pass"):
        gate(**{name: 0})


def test_an_acknowledged_write_that_nobody_read_back_cannot_be_told():
    verdict = wrote({}, {"look": False})
    assert verdict.status is Status.INCONCLUSIVE
    assert "1 of 2 acknowledged keys were not read back: run/o/1" in verdict.summary


def test_incomplete_final_reads_cannot_pass_but_can_fail():
    assert wrote({}, final_complete=False).status is Status.INCONCLUSIVE
    assert wrote({"read": None}, final_complete=False).status is Status.FAIL


def test_a_stale_final_read_proves_nothing():
    builder = RecordingBuilder()
    builder.put_once(read=None)
    builder.final[0]["consistency"] = "serializable"
    assert AcknowledgedWrites().judge(builder.build()).status is Status.INCONCLUSIVE


def test_registers_that_are_overwritten_are_not_write_once():
    builder = RecordingBuilder()
    builder.sample(op="put", key="run/r/0", value="a")
    assert AcknowledgedWrites().judge(builder.build()).status is Status.INCONCLUSIVE


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Outcome), st.sampled_from(["", None, "x"])), min_size=1))
def test_a_history_fails_exactly_if_one_write_contradicts_what_its_client_was_told(puts):
    verdict = wrote(*[{"outcome": outcome, "read": read} for outcome, read in puts])
    allowed = {Outcome.OK: {""}, Outcome.UNKNOWN: {"", None}, Outcome.FAILED: {None}}
    wrong = any(read not in allowed[outcome] for outcome, read in puts)
    told = any(outcome is Outcome.OK for outcome, _ in puts)
    assert verdict.status is (Status.FAIL if wrong else Status.PASS if told else Status.INCONCLUSIVE)


# ---------------------------------------------------------------- replicas equal

SAME = {"etcd1": 5.0, "etcd2": 5.0, "etcd3": 5.0}
ODD = SAME | {"etcd2": 6.0}
SILENT = SAME | {"etcd3": None}


def compared(*rounds: dict, quiet: dict | None = SAME):
    builder = RecordingBuilder()
    for number, hashes in enumerate(rounds):
        builder.replicas(number, hashes)
    if quiet is not None:
        builder.replicas(99, quiet, quiet=True)
    return builder


def replicas(*rounds: dict, quiet: dict | None = SAME):
    return ReplicasEqual().judge(compared(*rounds, quiet=quiet).build())


def test_equal_replicas_pass():
    verdict = replicas(SAME, SAME)
    assert verdict.status is Status.PASS
    assert "3 members hold the same at revision 1,099" in verdict.summary


def test_a_difference_that_lasts_fails_for_certain_and_names_the_member():
    verdict = replicas(SAME, ODD, ODD)
    assert verdict.status is Status.FAIL
    assert verdict.certain
    assert verdict.numbers["members"] == ["etcd2"]
    assert "etcd2 at revision 1,002" in verdict.summary


def test_a_difference_with_traffic_stopped_fails_at_once():
    verdict = replicas(SAME, quiet=ODD)
    assert verdict.status is Status.FAIL
    assert "with traffic stopped" in verdict.summary


def test_the_first_differing_revision_is_named():
    builder = compared(quiet=ODD)
    builder.reading("replica-bisect", "etcd2", 812.0)
    verdict = ReplicasEqual().judge(builder.build())
    assert "etcd2 first differs at revision 812" in verdict.summary
    assert verdict.numbers["first_differing"] == {"etcd2": 812.0}
    builder.reading("replica-bisect", "etcd2", 812.0, text="etcd2 lacks run/r/3 from revision 812 on")
    assert ReplicasEqual().judge(builder.build()).summary.endswith("; etcd2 lacks run/r/3 from revision 812 on")


def test_a_difference_in_one_round_that_did_not_last_passes_and_is_told():
    verdict = replicas(ODD, SAME)
    assert verdict.status is Status.PASS
    assert "1 aside that did not last" in verdict.summary


def test_only_the_same_member_odd_on_end_is_a_lasting_difference():
    other = SAME | {"etcd1": 7.0}
    assert replicas(ODD, SAME, ODD).status is Status.PASS
    assert replicas(ODD, other).status is Status.PASS
    silent = {node: value for node, value in SAME.items() if node != "etcd2"} | {"etcd2": None}
    assert replicas(ODD, silent, ODD).status is Status.FAIL


def quietly(**revisions: int):
    builder = compared()
    said = [json.loads(r.text) | {"revision": revisions[r.node], "applied_index": 9} for r in builder.readings]
    builder.readings = [replace(r, text=json.dumps(text)) for r, text in zip(builder.readings, said, strict=True)]
    return builder


def test_a_member_that_lost_the_last_write_fails_though_all_hash_alike_up_to_it():
    assert ReplicasEqual().judge(quietly(etcd1=8, etcd2=8, etcd3=8).build()).status is Status.PASS
    verdict = ReplicasEqual().judge(quietly(etcd1=8, etcd2=7, etcd3=8).build())
    assert (verdict.status, verdict.certain) == (Status.FAIL, True)
    assert verdict.numbers["members"] == ["etcd2"]
    assert verdict.numbers["revisions"] == {"etcd1": 8, "etcd2": 7, "etcd3": 8}


def test_members_that_have_not_applied_the_same_log_are_not_compared_for_good():
    builder = quietly(etcd1=8, etcd2=7, etcd3=8)
    builder.readings[1] = replace(builder.readings[1], text=builder.readings[1].text.replace(": 9", ": 8"))
    assert ReplicasEqual().judge(builder.build()).status is Status.INCONCLUSIVE


def test_a_member_that_was_found_to_differ_is_never_passed():
    builder = compared()
    builder.reading("replica-bisect", "etcd2", None, why="compacted", text="etcd2 differs; from where can't be said")
    verdict = ReplicasEqual().judge(builder.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert "etcd2 differs; from where can't be said" in verdict.summary


def test_watching_parses_each_reading_once(monkeypatch):
    builder, parsed = compared(*[SAME] * 20, quiet=None), []
    gates.replicas_equal._said.cache_clear()
    loads = json.loads
    monkeypatch.setattr(gates.replicas_equal.json, "loads", lambda text: parsed.append(text) or loads(text))
    for n in range(0, len(builder.readings), 3):
        assert ReplicasEqual().watch(builder.readings[: n + 3]) is None
    assert len(parsed) == len({reading.text for reading in builder.readings})


@pytest.mark.parametrize("quiet", [None, SILENT, {"etcd1": 5.0}])
def test_without_a_whole_final_comparison_nothing_can_be_told(quiet):
    assert replicas(SAME, quiet=quiet).status is Status.INCONCLUSIVE


def test_the_member_that_did_not_answer_is_named_with_its_reason():
    assert "etcd3 (timeout)" in replicas(quiet=SILENT).summary


def test_members_with_another_compaction_are_not_compared():
    builder = compared(ODD, ODD, quiet=None)
    text = builder.readings[1].text
    builder.readings = [
        replace(r, text=text.replace('"compact_revision": 1', '"compact_revision": 2')) if r.node == "etcd2" else r
        for r in builder.readings
    ]
    assert ReplicasEqual().judge(builder.build()).status is Status.INCONCLUSIVE


def test_the_gate_says_no_while_the_run_goes_on():
    builder = compared(SAME, ODD, ODD, quiet=None)
    gate = ReplicasEqual()
    assert gate.watch(()) is None
    assert gate.watch(builder.readings[:6]) is None
    verdict = gate.watch(builder.readings)
    assert verdict.status is Status.FAIL
    assert verdict.certain


def test_where_no_majority_is_everybody_is_named():
    assert replicas(quiet={"etcd1": 1.0, "etcd2": 2.0}).numbers["members"] == ["etcd1", "etcd2"]


def test_a_reading_that_is_not_ours_is_left_alone():
    builder = compared()
    builder.readings.append(Reading(name="replica", node="etcd1", at_ns=1, value=7.0, text="not JSON"))
    assert ReplicasEqual().judge(builder.build()).status is Status.PASS


def test_a_number_of_rounds_below_one_is_refused():
    with pytest.raises(ValueError, match=r"^rounds: "):
        ReplicasEqual(rounds=0)


# ---------------------------------------------------------------- linearizable


def history(*operations: tuple, cut: bool = False, **columns: str):
    """Operations (op, value, call, return) on one register."""
    builder = RecordingBuilder()
    for place, (op, value, call_ns, return_ns) in enumerate(operations):
        builder.sample(op=op, value=value, call_ns=call_ns, return_ns=return_ns, client=place, **columns)
    return Linearizable(observed_min=1).judge(builder.build(complete=not cut))


def test_a_read_of_the_last_write_is_linearizable():
    verdict = history(("put", "a", 1, 2), ("put", "b", 3, 4), ("get", "b", 5, 6))
    assert verdict.status is Status.PASS
    assert verdict.numbers["n"] == 3


def test_a_stale_read_fails_for_certain_with_its_witness():
    verdict = history(("put", "a", 1, 2), ("put", "b", 3, 4), ("get", "a", 5, 6))
    assert verdict.status is Status.FAIL
    assert verdict.certain
    assert verdict.numbers["key"] == "run/r/0"
    assert any(one["op"] == "get" and one["value"] == "a" for one in verdict.numbers["witness"])


def test_a_read_that_may_be_stale_by_its_own_promise_is_not_held_to_it():
    builder = RecordingBuilder()
    builder.sample(op="put", value="a", call_ns=1, return_ns=2)
    builder.sample(op="put", value="b", call_ns=3, return_ns=4)
    builder.sample(op="get", value="a", call_ns=5, return_ns=6, consistency="serializable")
    assert Linearizable().judge(builder.build()).status is Status.INCONCLUSIVE


def read(builder: RecordingBuilder, times: int):
    """Read the register so often, one after the other."""
    for _ in range(times):
        builder.sample()
        builder.clock.advance(0.01)


@pytest.mark.parametrize(("reads", "status"), [(1, Status.INCONCLUSIVE), (99, Status.INCONCLUSIVE), (100, Status.PASS)])
def test_few_reads_show_little_and_the_verdict_says_how_many_are_needed(reads, status):
    builder = RecordingBuilder()
    read(builder, reads)
    verdict = Linearizable().judge(builder.build())
    assert verdict.status is status
    assert verdict.numbers["observed"] == reads
    assert (f"{reads} answered reads and swaps; 100 are needed: " in verdict.summary) == (status is not Status.PASS)


@pytest.mark.parametrize(("after", "status"), [(9, Status.INCONCLUSIVE), (10, Status.PASS)])
def test_reads_from_before_the_first_fault_put_nothing_to_the_test(after, status):
    builder = RecordingBuilder()
    read(builder, 200)
    with builder.fault("kill", "etcd1"):
        builder.clock.advance(1)
    read(builder, after)
    verdict = Linearizable(observed_min=10).judge(builder.build())
    assert verdict.status is status
    assert ("since the first fault was injected" in verdict.summary) == (status is not Status.PASS)


def test_a_search_that_needs_more_memory_than_it_may_have_is_unknown():
    builder = RecordingBuilder()
    zero = builder.clock.now_ns()
    for n in range(12):  # all at once, and each value twice: which write a read saw is a search
        times = {"call_ns": zero, "return_ns": zero + 1000, "client": n}
        builder.sample(op="put", value=f"v{n % 6}", **times)
        builder.sample(op="get", value=f"v{n % 5}", **times)
    recording = builder.build()
    assert Linearizable(observed_min=1).judge(recording).status is Status.PASS
    verdict = Linearizable(observed_min=1, budget_memory_bytes=1).judge(recording)
    assert verdict.status is Status.INCONCLUSIVE
    assert "the memory of the search ran out" in verdict.summary


def test_writes_alone_show_nothing():
    assert history(("put", "a", 1, 2), ("put", "b", 3, 4)).status is Status.INCONCLUSIVE


def test_a_value_whose_write_may_have_been_lost_with_the_last_batch_is_not_held_against_the_store():
    operations = (("put", "a", 1, 2), ("get", "b", 9, 10))
    assert history(*operations).status is Status.FAIL
    assert history(*operations, cut=True).status is not Status.FAIL
