"""Two loads in one run: who judges which, and what becomes of a run whose second load was none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.errors import RecordingError
from chaos.loads import of_load
from chaos.model import Decision, EventKind, Load, NamedGate, Outcome, Span, Status
from chaos.recording import Recording
from chaos.testing import RecordingBuilder
from gates.errors import Errors
from gates.judge import judge
from gates.latency import Latency
from gates.ledger import Ledger
from gates.linearizable import Linearizable
from tests.staged import experiment
from tests.two_loads import BESIDE, OWN, both


def named(gate, of=""):
    return NamedGate(name="asked", gate=gate, of=of)


def asked(recording, gate, of=""):
    return judge(recording, [named(gate, of)]).verdicts[1]


def test_each_load_is_seen_for_itself():
    own, kv = both().loads.values()
    assert own.samples.num_rows == 8 * 50
    assert kv.samples.num_rows == 8 * 200
    assert set(own.samples["op"].cast("string").to_pylist()) == {"produce"}
    assert ([*own.ends], [*kv.ends]) == (["records-0"], ["kv-0"])
    said = [[e.data["offered_per_s"] for e in one.events if e.kind is EventKind.LOAD][-1] for one in (own, kv)]
    assert said == [50, 200]
    assert (own.run["load"], kv.run["load"]) == (OWN, BESIDE)
    assert [*own.loads] == ["records"]


def test_a_recording_of_one_load_is_its_own_view():
    recording = RecordingBuilder().build()
    assert [*recording.loads.values()] == [recording]
    assert of_load(recording, "") is recording
    with pytest.raises(RecordingError, match="no load of records"):
        of_load(recording, "records")


def test_a_sound_run_of_two_loads_counts_and_each_is_judged_by_its_own_gates():
    gates = [named(Ledger(output="out", records_min=1)), named(Linearizable(observed_min=1), "kv")]
    gates = [replace(gate, name=f"g{number}") for number, gate in enumerate(gates)]
    judgement = judge(both(), gates)
    assert judgement.decision is Decision.PROMOTE, judgement.sentence


def test_a_gate_sees_the_load_that_it_is_of():
    recording = both(slow_kv_s=0.3)
    slow = Latency(limit_s=0.1, percentile=90, during=Span.STEADY)
    assert asked(recording, slow).status is Status.PASS
    assert asked(recording, slow, "kv").status is Status.FAIL


def test_errors_of_one_load_are_not_thinned_out_by_the_other():
    recording = both()
    rows = recording.samples.to_pylist()
    ours = [place for place, row in enumerate(rows) if row["generator"] == "records-0"]
    odd = set(ours[::2])
    failed = [row | {"outcome": int(Outcome.FAILED)} if place in odd else row for place, row in enumerate(rows)]
    worse = Recording.of(
        events=recording.events, samples=failed, run=recording.run, ends=recording.ends, logs=recording.logs
    )
    assert asked(worse, Errors(limit_share=0.2, during=Span.STEADY)).status is Status.FAIL
    assert asked(worse, Errors(limit_share=0.2, during=Span.STEADY), "kv").status is Status.PASS


def test_a_gate_of_a_load_that_there_was_not_can_not_tell():
    verdict = asked(RecordingBuilder().build(), Linearizable(), "records")
    assert verdict.status is Status.INCONCLUSIVE
    assert "no load of records" in verdict.summary


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"kv_rate": 100.0}, "kv: the load did not reach its floor: 100/s offered in steady, 200/s asked"),
        ({"kv_rate": 0.0}, "kv: no operation was recorded"),
        ({"kv_outcome": Outcome.FAILED}, "kv: no operation succeeded in steady"),
        ({"kv_outcome": Outcome.UNKNOWN}, "kv: no operation succeeded in steady"),
        ({"kv_there": False}, "kv: 0 of 1 generators left a recording"),
    ],
)
def test_a_second_load_that_was_none_makes_the_run_say_nothing(broken, why):
    recording = both(**broken)
    judgement = judge(recording, [named(Ledger(output="out", records_min=1))])
    assert judgement.decision is Decision.CANNOT_TELL
    assert why in judgement.sentence or any(why in problem for problem in judgement.verdicts[0].numbers["problems"])


def test_a_run_without_the_second_load_of_its_experiment_says_nothing():
    recording = both()
    asked = experiment(beside=Load(workload="kv", rate_per_s=200))
    run = {key: value for key, value in recording.run.items() if key != "beside"}
    alone = replace(recording, run=run, _experiment=asked)
    judgement = judge(alone, [named(Ledger(output="out", records_min=1))])
    assert judgement.decision is Decision.CANNOT_TELL
    assert "the experiment has a second load, kv, and the recording has none" in judgement.sentence


def test_what_a_ramp_recorded_belongs_to_the_first_load():
    recording = both()
    rows = recording.samples.to_pylist()
    ramp = [row | {"generator": "ramp-records-0"} for row in rows if row["generator"] == "records-0"][:7]
    samples = Recording.of(samples=rows + ramp).samples
    longer = replace(recording, _given=replace(recording.parts, samples=samples))
    assert [view.samples.num_rows for view in longer.loads.values()] == [8 * 50 + 7, 8 * 200]


def test_a_load_that_said_nothing_does_not_speak_by_the_other_ones_mouth():
    recording = both()
    events = [
        replace(event, data={**event.data, "parts": {"records": event.data["parts"]["records"]}})
        if event.kind is EventKind.LOAD and event.data["parts"]
        else event
        for event in recording.events
    ]
    silent = replace(recording, events=tuple(events))
    judgement = judge(silent, [named(Ledger(output="out", records_min=1))])
    assert "kv: the generator said nothing of itself" in judgement.sentence


def test_a_recording_that_does_not_say_its_own_load_is_no_crash():
    recording = both()
    odd = replace(recording, run={"beside": recording.run["beside"]})
    assert [*odd.loads] == ["", "kv"]
    assert judge(odd, [named(Ledger(output="out", records_min=1))]).decision is Decision.CANNOT_TELL
