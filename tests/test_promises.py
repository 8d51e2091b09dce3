"""What an slo promises becomes gates; what can't be judged is refused at its place."""

from __future__ import annotations

import pytest

from chaos.errors import SpecError
from chaos.model import Slo, Span
from chaos.parts import Tables, shipped
from chaos.plan import describe
from chaos.preflight import timeline
from chaos.spec import load_text
from tests.test_spec import TABLES

HEAD = """\
chaosgate: 1
name: e
stack: etcd
load: {kv: , rate: 800/s}
duration: 30s
"""
STEPS = "steps: [{at: 8s, for: 4s, on: leader, fault: pause}]\n"


def read(text: str, tables: Tables | None = None):
    return load_text(text, "x.yaml", tables)


def problems(text: str, tables: Tables | None = None) -> list[str]:
    with pytest.raises(SpecError) as error:
        read(text, tables)
    return list(error.value.problems)


def test_each_promise_is_a_gate():
    e = read(f"{HEAD}{STEPS}slo: {{completeness: exact, latency: 400ms, recovery: 5s}}\n")
    assert [(gate.name, gate.kind) for gate in e.gates] == [
        ("acknowledged-writes", "acknowledged-writes"),
        ("linearizable", "linearizable"),
        ("replicas-equal", "replicas-equal"),
        ("slo-latency", "latency"),
        ("slo-recovery", "recovery"),
    ]
    latency, recovery = e.gates[3].gate, e.gates[4].gate
    assert (latency.limit_s, latency.percentile, latency.during) == (0.4, 99, Span.STEADY)
    assert recovery.limit_s == 5
    assert e.slo == Slo(completeness="exact", latency_s=0.4, recovery_s=5)


def test_completeness_is_exact_unless_it_is_said():
    assert [gate.name for gate in read(f"{HEAD}slo: {{latency: 1s}}\n").gates] == [
        "acknowledged-writes",
        "linearizable",
        "replicas-equal",
        "slo-latency",
    ]


def test_the_completeness_picks_the_gates_of_the_state():
    text = HEAD.replace("etcd", "store") + "slo: {completeness: partial}\n"
    assert [gate.name for gate in read(text, TABLES).gates] == ["replicas-equal"]


def test_gates_of_the_state_that_the_file_lists_are_asked_once():
    e = read(f"{HEAD}gates: [lin: {{linearizable: {{budget: 5s}}}}]\nslo: {{latency: 1s}}\n")
    assert [gate.name for gate in e.gates] == ["lin", "acknowledged-writes", "replicas-equal", "slo-latency"]


def test_the_plan_shows_what_was_promised():
    said = describe(timeline(read(f"{HEAD}{STEPS}slo: {{latency: 400ms, recovery: 5s}}\n")))
    for line in (
        "linearizable, during run",
        "slo-latency (latency: limit 400ms, percentile 99), during steady",
        "slo-recovery (recovery: limit 5s), during recovery",
    ):
        assert f"  {line}\n" in said


REFUSED = {
    "of nothing": (
        HEAD + "slo:\n",
        "6:5: nothing is promised here; write e.g. {latency: 400ms, recovery: 5s}",
    ),
    "completeness": (
        HEAD + "slo: {completeness: exat}\n",
        "6:21: 'exat' is none of the choices; did you mean 'exact'?",
    ),
    "completeness that nothing judges": (
        HEAD + "slo: {completeness: partial}\n",
        "6:21: this stack has no gates for completeness 'partial'; there is exact",
    ),
    "latency of nothing": (HEAD + "slo: {latency: 0s}\n", "6:16: '0s' is out of range; write more than 0"),
    "recovery of nothing": (HEAD + STEPS + "slo: {recovery: 0s}\n", "7:17: '0s' is out of range; write more than 0"),
    "recovery without steps": (
        HEAD + "slo: {recovery: 5s}\n",
        "6:17: 'slo-recovery' looks at what follows a fault, and nothing breaks here; add steps, or leave it out",
    ),
    "latency without a steady window": (
        HEAD + STEPS.replace("8s", "0s") + "slo: {latency: 400ms}\n",
        "7:16: 'slo-latency' needs a steady window, and a step fires at 0s; let it fire later",
    ),
    "a name that is taken": (
        HEAD + "gates: [slo-latency: {errors: {limit: 1%, during: run}}]\nslo: {latency: 400ms}\n",
        "7:16: another gate has the name 'slo-latency' here; give it another one",
    ),
    "key": (HEAD + "slo: {latencie: 400ms}\n", "6:7: no such key 'latencie' here; did you mean 'latency'?"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_judged_is_refused_at_its_place(text, said):
    assert problems(text) == [f"x.yaml:{said}"]


def test_a_stack_without_gates_for_its_state_can_promise_nothing_of_it():
    text = HEAD.replace("etcd", "loose") + "slo: {latency: 400ms}\n"
    assert problems(text, TABLES) == ["x.yaml:6:6: this stack has no gates for completeness 'exact'; there is none"]


def test_a_gate_that_is_not_installed_is_missed():
    gates = {name: gate for name, gate in shipped().gates.items() if name != "linearizable"}
    tables = Tables(faults=shipped().faults, gates=gates, stacks=shipped().stacks, workloads=shipped().workloads)
    (said,) = problems(HEAD + "slo: {latency: 400ms}\n", tables)
    assert said.startswith("x.yaml:6:6: no such gate 'linearizable'")


STREAMING = """
chaosgate: 1
name: promised
stack: streaming
load: {{records: {{topic: in, keys: 40, acks: all, read: [out, win], markers: true}}, rate: 500/s}}
duration: 40s
steps:
  - {{name: kill, at: 10s, on: {{running: any}}, fault: {{kill: {{down-for: 5s}}}}}}
slo: {slo}
"""


def test_a_job_promises_exact_counts_output_in_time_and_a_lag_that_drains():
    gates = {
        gate.name: gate for gate in load_text(STREAMING.format(slo="{latency: 3s, recovery: 10s}"), "x.yaml").gates
    }
    assert {name: gate.kind for name, gate in gates.items()} == {
        "ledger": "ledger",
        "slo-latency": "output-latency",
        "slo-recovery": "lag",
    }
    ledger = gates["ledger"].gate
    assert (ledger.output, ledger.windows, ledger.completeness) == ("out", "win", "exact")
    assert (gates["slo-latency"].gate.limit_s, gates["slo-recovery"].gate.limit_s) == (3.0, 10.0)


def test_a_job_may_promise_at_least_once():
    (gate,) = load_text(STREAMING.format(slo="{completeness: partial}"), "x.yaml").gates
    assert gate.gate.completeness == "at-least-once"
