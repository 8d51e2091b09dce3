"""The ledger finds every kind of violation and names it, and agrees with a reference that counts one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.model import Outcome, Status
from chaos.streams import NEVER_NS, Topic
from chaos.testing import RecordingBuilder, check_gate
from gates.accounts import Log
from gates.books import Books
from gates.ledger import KINDS, TOLERATED, Ledger

FULL = Ledger(output="out", windows="win", records_min=1, watermark_delay_s=0)


@pytest.mark.parametrize("gate", [Ledger(), FULL, replace(FULL, completeness="at-most-once", tolerated_share=0.5)])
def test_it_does_what_every_gate_must(gate):
    check_gate(gate)


def run(*, keys=4, each=10, piped=True):
    """A sound run: `each` records of each key, a tenth of a second apart, through a job, with markers at the end."""
    b = RecordingBuilder()
    b.traffic(1)
    for _ in range(each):
        for key in range(keys):
            b.produce(key)
        b.clock.advance(0.1)
    if piped:
        b.topics.pipe(windows="win")
        for topic in ("in", "out"):
            b.topics.mark(topic, b.clock.now_ns() // 1_000_000 + 3_600_000)
    return b


def judged(b, gate=FULL, **built):
    return gate.judge(b.build(**built))


def record(b, topic, key, n):
    return next(row for row in b.topics.rows[topic] if row["key"] == key and row.get("n") == n)


def drop(b, topic, key, n):
    b.topics.rows[topic].remove(record(b, topic, key, n))


def again(b, topic, key, n):
    row = dict(record(b, topic, key, n))
    row.pop("offset")
    b.topics.append(topic, **row)


def swap(b, topic, key, n):
    """Let two records that follow each other in a key change places."""
    one, two = record(b, topic, key, n), record(b, topic, key, n + 1)
    one["n"], two["n"] = n + 1, n
    one["count"], two["count"] = two.get("count"), one.get("count")


def test_a_sound_run_passes_and_says_what_was_compared():
    verdict = judged(run())
    assert verdict.status is Status.PASS, verdict.summary
    compared = "each once in out, in order, rightly counted; 4 windows as recounted"
    assert verdict.summary == f"40 records of 4 keys: {compared}"
    assert verdict.numbers["acknowledged"] == 40


def test_the_log_alone_can_be_judged():
    verdict = judged(run(piped=False), Ledger(records_min=1))
    assert verdict.status is Status.PASS, verdict.summary
    assert verdict.summary == "40 records of 4 keys: each acknowledged one is in topic in, each once and in order"


# ---------------------------------------------------------------- each kind, planted


def window(b, key=1):
    return next(row for row in b.topics.rows["win"] if row["key"] == key)


PLANTED = {
    "acknowledged, lost": (lambda b: b.produce(1, logged=False), "key 1, n 10, acknowledged by in/1"),
    "input doubled": (
        lambda b: (again(b, "in", 1, 3), again(b, "out", 1, 3), window(b).update(count=11)),
        "key 1, n 3, in/1 offset 21",
    ),
    "input reordered": (lambda b: (swap(b, "in", 1, 3), swap(b, "out", 1, 3)), "key 1, n 3, in/1 offset 8"),
    "input corrupt": (lambda b: b.topics.append("in", key=None, partition=0), "in/0 offset 21"),
    "lost": (lambda b: drop(b, "out", 1, 3), "key 1, n 3, in/1 offset 6"),
    "doubled": (lambda b: again(b, "out", 1, 3), "key 1, n 3, out/1 offset 21"),
    "unexpected": (lambda b: b.topics.append("out", key=1, n=77, count=78), "key 1, n 77, out/1 offset 21"),
    "reordered": (lambda b: swap(b, "out", 1, 3), "key 1, n 3, out/1 offset 8"),
    "corrupt": (lambda b: b.topics.append("out", key=None, partition=1), "out/1 offset 21"),
    "undercounted": (
        lambda b: record(b, "out", 1, 3).update(count=3),
        "key 1, n 3, out/1 offset 6, count 3, right is 4",
    ),
    "overcounted": (
        lambda b: record(b, "out", 1, 3).update(count=5),
        "key 1, n 3, out/1 offset 6, count 5, right is 4",
    ),
    "window lost": (lambda b: b.topics.rows["win"].remove(window(b)), "key 1, window 1001000 ms"),
    "window doubled": (
        lambda b: b.topics.append("win", **{k: v for k, v in window(b).items() if k != "offset"}),
        "key 1, window 1001000 ms, win/1 offset 2",
    ),
    "window unexpected": (
        lambda b: b.topics.append("win", key=1, window_ms=7_000_000, count=1),
        "key 1, window 7000000 ms, win/1 offset 2",
    ),
    "window corrupt": (lambda b: b.topics.append("win", key=None, partition=1), "win/1 offset 2"),
    "window undercounted": (
        lambda b: window(b).update(count=1),
        "key 1, window 1001000 ms, win/1 offset 0, count 1, right is 10",
    ),
    "window overcounted": (
        lambda b: window(b).update(count=11),
        "key 1, window 1001000 ms, win/1 offset 0, count 11, right is 10",
    ),
}


def test_each_kind_is_planted():
    assert set(PLANTED) == set(KINDS)


def test_order_that_a_job_does_not_keep_is_told_and_not_judged_and_nothing_else_is_let_pass():
    dealt = Ledger(output="out", ordered=False, records_min=1)
    b = run()
    swap(b, "out", 1, 3)
    row, other = record(b, "out", 1, 3), record(b, "out", 1, 4)
    row["count"], other["count"] = 4, 5
    found = judged(b, dealt)
    assert found.status is Status.PASS, found
    assert "exact in any order tolerates: reordered 1" in found.summary
    drop(b, "out", 2, 5)
    assert judged(b, dealt).summary.startswith("lost 1 of 40 records")


@pytest.mark.parametrize("kind", ["input doubled", "input reordered"])
def test_a_producer_that_gave_a_record_up_may_have_done_it_itself(kind):
    b = run()
    b.produce(1, outcome=Outcome.UNKNOWN, logged=False)
    PLANTED[kind][0](b)
    verdict = judged(b)
    assert verdict.status is Status.INCONCLUSIVE, verdict.summary
    assert f"{kind} 1, and nobody can say by whom: the producer gave 1 record up" in verdict.summary


def test_what_the_job_did_is_held_against_it_all_the_same():
    b = run()
    b.produce(1, outcome=Outcome.UNKNOWN, logged=False)
    again(b, "out", 1, 3)
    verdict = judged(b)
    assert verdict.status is Status.FAIL, verdict.summary
    assert verdict.summary.startswith("doubled 1 of"), verdict.summary


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_violation_fails_for_certain_and_is_named(kind):
    b = run()
    plant, named = PLANTED[kind]
    plant(b)
    verdict = judged(b)
    assert verdict.status is Status.FAIL, verdict.summary
    assert verdict.certain
    assert verdict.summary.startswith(f"{kind} 1 of 4"), verdict.summary
    assert f"the first {kind}: {named}" in verdict.summary
    assert verdict.summary.endswith(KINDS[kind])
    assert verdict.numbers["kinds"] == {kind: 1}
    assert verdict.numbers["records"][0]["what"] == kind


def test_several_kinds_are_counted_each():
    b = run()
    for number in range(3):
        drop(b, "out", 1, number)
    again(b, "out", 2, 5)
    verdict = judged(b)
    assert verdict.numbers["kinds"] == {"lost": 3, "doubled": 1}
    assert verdict.summary.startswith("lost 3, doubled 1 of 40 records; the first lost: key 1, n 0, in/1 offset 0: ")


def test_a_reader_of_what_was_aborted_is_told_beside_what_it_found():
    b = run()
    again(b, "out", 1, 3)
    b.topics.ends["out"] = {"isolation": "read_uncommitted"}
    assert judged(b).summary.endswith("it came out again; out was read at read_uncommitted")


def test_that_the_job_never_came_to_its_end_is_told_beside_what_is_lost():
    b = run()
    b.topics.rows["out"] = [row for row in b.topics.rows["out"] if row["key"] >= 0 and row["n"] < 5]
    verdict = judged(b)
    assert verdict.status is Status.FAIL
    assert verdict.summary.endswith("the job had not come to the end of its input: 0 of 2 end markers came out")


# ---------------------------------------------------------------- completeness of what was seen


@pytest.mark.parametrize("topic", ["in", "out", "win"])
@pytest.mark.parametrize(
    ("end", "why"),
    [
        (None, "the reader of topic {} was cut short"),
        ({"complete": False}, "{} was not read to its end: its reader stopped early"),
        ({"complete": False, "why": "timeout"}, "{} was not read to its end: timeout"),
        ({"records": 3}, "topics/{}.arrow has"),
        ({"high": {}}, "nobody asked where {} ends"),
        ({"end": {0: 1, 1: 1}}, "{}/0 was read up to 1 of"),
        ({"last_stable": {0: 1, 1: 9999}, "settled": False}, "a transaction on {}/0 was still open at offset 1"),
        ({"settled": False}, "{} was read while transactions were open"),
    ],
)
def test_a_log_that_is_not_shown_to_be_whole_cannot_acquit(topic, end, why):
    b = run()
    b.topics.ends[topic] = end
    verdict = judged(b)
    assert verdict.status is Status.INCONCLUSIVE
    assert why.format(topic) in verdict.summary


def test_a_reader_that_stops_early_loses_nothing_but_certainty():
    b = run()
    b.topics.rows["out"] = b.topics.rows["out"][:7]
    b.topics.ends["out"] = {"complete": False}
    assert judged(b).status is Status.INCONCLUSIVE


def test_an_input_that_was_not_read_to_its_end_convicts_nobody_of_inventing():
    b = run()
    b.topics.rows["in"] = b.topics.rows["in"][:7]
    b.topics.ends["in"] = {"complete": False}
    assert judged(b).status is Status.INCONCLUSIVE


def test_what_came_out_twice_did_so_whatever_else_was_not_read():
    b = run()
    again(b, "out", 1, 3)
    b.topics.ends["out"] = {"complete": False}
    verdict = judged(b)
    assert verdict.status is Status.FAIL
    assert verdict.numbers["kinds"] == {"doubled": 1}


def test_a_topic_that_nobody_read_back_is_named():
    verdict = judged(run(piped=False))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary == "topic out, win was not read back after the run"


def test_an_offset_that_its_reader_gave_twice_is_one_record():
    b = run()
    b.topics.rows["out"].insert(0, dict(record(b, "out", 1, 3)))
    assert judged(b).status is Status.PASS


def test_no_acknowledged_record_no_answer():
    b = RecordingBuilder()
    b.produce(1, outcome=Outcome.UNKNOWN)
    assert "no record was acknowledged" in judged(b, Ledger()).summary


def test_a_few_records_are_too_little_and_it_says_how_many_are_needed():
    verdict = judged(run(), replace(FULL, records_min=41))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary.startswith("40 acknowledged records; 41 are needed: ")


def test_records_from_before_the_first_fault_put_nothing_to_the_test():
    b = run(piped=False)
    with b.fault("kill", "etcd1"):
        b.traffic(1)
    assert "0 acknowledged records since the first fault" in judged(b, Ledger(records_min=1)).summary


def test_a_generator_that_skips_numbers_is_at_fault_itself():
    b = RecordingBuilder()
    for number in range(20):
        if number == 7:
            b._sequence[1] += 2
        b.produce(1)
    b.topics.pipe()
    verdict = judged(b, Ledger(output="out", records_min=1))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary == (
        "the generator skipped 2 of its own numbers, the first: key 1, n 7; the load is at fault, not the stack"
    )


def test_records_that_no_sample_speaks_of_are_told():
    b = run()
    b.samples = [sample for sample in b.samples if sample["op"] != "produce" or sample["value"] != "4"]
    assert judged(b).status is Status.INCONCLUSIVE
    assert "the generator has no sample of 4 in the log, the first: key 0, n 4" in judged(b).summary


def test_a_record_whose_delivery_nobody_knows_of_may_be_there_or_not():
    b = RecordingBuilder()
    for number in range(12):
        b.produce(1, outcome=Outcome.UNKNOWN if number % 3 == 0 else Outcome.OK, logged=number % 6 != 0)
    b.topics.pipe()
    verdict = judged(b, Ledger(output="out", records_min=1))
    assert verdict.status is Status.PASS, verdict.summary


def test_windows_that_the_watermark_need_not_have_closed_are_not_owed():
    b = run()
    for topic in ("in", "out"):
        b.topics.rows[topic] = [row for row in b.topics.rows[topic] if row["key"] >= 0]
    b.topics.rows["win"].clear()
    verdict = judged(b)
    assert verdict.status is Status.INCONCLUSIVE
    assert "no window of win need have closed; let the load end with markers" in verdict.summary


def test_an_empty_partition_holds_the_watermark_back():
    b = run()
    b.topics.rows["win"].clear()
    b.topics.ends["in"] = {"high": {0: 21, 1: 21, 2: 0}, "end": {0: 21, 1: 21, 2: 0}, "last_stable": {}}
    assert "need have closed" in judged(b).summary


def test_numbers_that_no_generator_counts_to_are_refused_not_laid_out():
    b = RecordingBuilder()
    b.produce(1)
    b.topics.append("in", key=1, n=10**15)
    assert "in can't be compared: a key's sequence number is 1,000,000,000,000,000" in judged(b, Ledger()).summary


# ---------------------------------------------------------------- what is tolerated


@pytest.mark.parametrize("completeness", ["at-least-once", "at-most-once"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_weaker_promise_tolerates_its_own_kind_of_wrong_only(completeness, kind):
    b = run()
    PLANTED[kind][0](b)
    gate = replace(FULL, completeness=completeness, tolerated_share=0.5)
    fails = kind not in TOLERATED[completeness]
    assert judged(b, gate).status is (Status.FAIL if fails else Status.PASS)


def test_more_than_the_tolerated_share_fails():
    b = run()
    for number in range(5):
        drop(b, "out", 1, number)
    gate = replace(FULL, completeness="at-most-once", tolerated_share=0.1)
    assert judged(b, gate).status is Status.FAIL
    verdict = judged(b, replace(gate, tolerated_share=0.125))
    assert verdict.status is Status.PASS
    assert verdict.summary == "40 records of 4 keys: at-most-once tolerates: lost 5 (12.5 %)"


@pytest.mark.parametrize(
    ("settings_", "why"),
    [
        ({"records_min": 0}, "records-min: 0 would let silence pass"),
        ({"window_s": 0.0}, "window: at least a millisecond"),
        ({"tolerated_share": 0.1}, "tolerated: exact tolerates nothing"),
        ({"completeness": "at-most-once"}, "tolerated: how many may be lost must be said"),
        ({"windows": "win"}, "output: windows are judged beside the records"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings_, why):
    with pytest.raises(ValueError, match=f"^{why}"):
        Ledger(**settings_)


# ---------------------------------------------------------------- beside a reference


IDS = st.tuples(st.integers(0, 3), st.integers(0, 4))
LOGS = st.lists(st.tuples(IDS, st.integers(0, 1)), max_size=25)


def log(name, records, partitioned):
    b = RecordingBuilder()
    b.topics.ends[name] = {}
    for (key, n), partition in records:
        b.topics.append(name, key=key, n=n, partition=partition if partitioned else key % 2, count=n + 1)
    return b.build().topic(name)


def reference(source, output):
    """Count each kind by Counters and loops."""
    ins, outs = (Counter(one for one, _ in part) for part in (source, output))
    return {
        "input doubled": len(source) - len(ins),
        "lost": sum((ins - outs).values()),
        "doubled": sum(count for one, count in (outs - ins).items() if one in ins),
        "unexpected": sum(count for one, count in outs.items() if one not in ins),
    }


def ordered(records):
    """Whether, in each partition, a key's first appearances rise."""
    seen = set()
    last = {}
    for (key, n), partition in records:
        if (key, n) in seen:
            continue
        seen.add((key, n))
        if last.get((key, partition), -1) > n:
            return False
        last[key, partition] = n
    return True


@settings(deadline=None, max_examples=400)
@given(source=LOGS, output=LOGS, partitioned=st.booleans())
def test_it_counts_as_a_reference_does(source, output, partitioned):
    if not partitioned:
        source, output = ([(one, one[0] % 2) for one, _ in part] for part in (source, output))
    given_ = RecordingBuilder().build()
    found = {
        one.kind: one
        for one in Books.of(given_, log("in", source, partitioned), log("out", output, partitioned)).findings()
    }
    for kind, count in reference(source, output).items():
        assert found[kind].count == count, kind
    assert (found["input reordered"].count == 0) == ordered(source)
    known = {one for one, _ in source}
    if ordered(source):
        assert (found["reordered"].count == 0) == ordered([one for one in output if one[0] in known])


@settings(deadline=None, max_examples=200)
@given(
    keys=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    lost=st.sets(st.integers(0, 39)),
    doubled=st.sets(st.integers(0, 39)),
    holes=st.sets(st.integers(0, 39)),
)
def test_a_run_fails_exactly_if_something_was_lost_or_doubled(keys, lost, doubled, holes):
    b = RecordingBuilder()
    for place, key in enumerate(keys):
        hole = place in holes
        b.produce(key, outcome=Outcome.UNKNOWN if hole else Outcome.OK, logged=not hole)
    b.topics.pipe()
    rows = list(b.topics.rows["out"])
    kept = [row for place, row in enumerate(rows) if place not in lost]
    b.topics.rows["out"] = list(kept)
    twice = [row for place, row in enumerate(rows) if place in doubled and row in kept]
    for row in twice:
        again(b, "out", row["key"], row["n"])
    verdict = judged(b, Ledger(output="out", records_min=1))
    if len(kept) < len(rows) or twice:
        assert verdict.status is Status.FAIL
        assert verdict.numbers["kinds"].get("lost", 0) == len(rows) - len(kept)
        assert verdict.numbers["kinds"].get("doubled", 0) == len(twice)
    elif all(place in holes for place in range(len(keys))):
        assert verdict.status is Status.INCONCLUSIVE
    else:
        assert verdict.status is Status.PASS, verdict.summary


@settings(deadline=None, max_examples=200)
@given(
    cells=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=30),
    told=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(1, 3)), max_size=15),
)
def test_windows_are_compared_as_a_reference_does(cells, told):
    b = RecordingBuilder()
    sequence = Counter()
    for key, second in cells:
        b.topics.append("in", key=key, n=sequence[key], timestamp_ms=second * 1000 + key)
        sequence[key] += 1
    b.topics.mark("in", 10**6)
    for key, second, count in told:
        b.topics.append("win", key=key, window_ms=second * 1000, count=count)
    b.topics.ends["win"] = {}
    built = b.build()
    found = {one.kind: one.count for one in Books.of(built, built.topic("in"), None, built.topic("win")).findings()}
    right = Counter(cells)
    first = {}
    for key, second, count in told:
        first.setdefault((key, second), count)
    assert found["window lost"] == sum(cell not in first for cell in right)
    assert found["window unexpected"] == sum((key, second) not in right for key, second, _ in told)
    assert found["window doubled"] == sum((k, s) in right for k, s, _ in told) - sum(c in right for c in first)
    assert found["window undercounted"] == sum(first[c] < right[c] for c in first if c in right)
    assert found["window overcounted"] == sum(first[c] > right[c] for c in first if c in right)


def test_a_count_that_is_missing_is_too_low():
    b = run()
    record(b, "out", 1, 3)["count"] = None
    assert judged(b).numbers["kinds"] == {"undercounted": 1}


def test_an_output_without_any_count_is_not_judged_by_it():
    b = run()
    for row in b.topics.rows["out"]:
        row["count"] = None
    assert judged(b).status is Status.PASS


def test_a_log_read_out_of_order_is_put_in_order():
    b = run()
    b.topics.rows["out"].reverse()
    topic = b.build().topic("out")
    assert isinstance(topic, Topic)
    assert Log.of(topic).repeated == 0
    assert (Log.of(topic).column("count") < NEVER_NS).all()
    assert judged(b).status is Status.PASS


def test_what_was_written_is_judged_as_what_was_built(tmp_path):
    from chaos.recording import Recording

    b = run()
    again(b, "out", 1, 3)
    folder = b.write(tmp_path / "run")
    assert FULL.judge(Recording.open(folder)) == judged(b)
