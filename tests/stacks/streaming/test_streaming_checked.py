"""What of a streaming experiment is refused before anything starts, and what `--version` means there."""

from __future__ import annotations

import pytest

from chaos.errors import CapabilityError, SpecError, UsageError
from chaos.options import Options, with_options
from chaos.preflight import describe
from chaos.spec import load_text
from chaos.stacks import STACKS

TEXT = """chaosgate: 1
name: checked
stack:
  streaming:
    kafka: {{topics: {{in: 4, more: 2}}}}
    flink: {{taskmanagers: 2{flink}}}
load:
  records: {{topic: {topic}, keys: 20, read: [out{read}]}}
  rate: 200/s
duration: 60s
steps:
  - {{name: step, at: 10s, {step}}}
gates: [{gate}]
"""
KILL = "on: {running: OverAggregate}, fault: {kill: {down-for: 5s}}"
ROLL = "on: {role: broker, share: 100%}, fault: {replace: {version: 4.3.1}}"


def text(*, step=KILL, topic="in", read="", flink="", gate="ledger: {input: in, output: out}"):
    return TEXT.format(step=step, topic=topic, read=read, flink=flink, gate=gate)


def problems(yaml):
    with pytest.raises(SpecError) as refused:
        load_text(yaml, "checked.yaml")
    return str(refused.value)


def test_the_sound_one_is_read():
    assert load_text(text(read=", win, more"), "checked.yaml").name == "checked"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"step": "on: taskmanager, fault: {replace: {version: 2.3.0}}"}, "a taskmanager knows no operation 'replace'"),
        ({"step": "on: broker, fault: {rescale: {parallelism: 1}}"}, "a broker knows no operation 'rescale'"),
        ({"step": "on: leader, fault: {upgrade: {to: v9}}"}, "job keyed-count has no version v9; there are v1, v2"),
        ({"step": "on: {role: taskmanager, count: 2}, fault: {upgrade: {to: v2}}"}, "there is one job"),
        ({"step": "on: leader, fault: {upgrade: {to: v2}}", "flink": ", job: {copies: 2}"}, "of which of the job's 2"),
        ({"topic": "orders"}, "no topic 'orders' is made; there are in, out, win, more"),
        ({"read": ", nope"}, "no topic 'nope' is made"),
        ({"step": "on: {leader-of: in/9}, fault: {kill: {down-for: 5s}}"}, "in has 4 partitions, from 0"),
        ({"step": "on: {leader-of: nope/0}, fault: {kill: {down-for: 5s}}"}, "no topic 'nope' is made"),
        ({"step": "on: store, for: 5s, fault: freeze"}, "no node can be store"),
        ({"gate": "ledger: {input: in, output: out, stops-run: true}"}, "ledger is judged after the run only"),
    ],
)
def test_what_can_not_be_is_refused_at_its_place(changed, said):
    found = problems(text(**changed))
    assert said in found
    assert found.startswith("checked.yaml:")


@pytest.mark.parametrize(
    ("changed", "gone"),
    [
        ({"step": "on: store, for: 5s, fault: freeze", "flink": ", store: true"}, "store"),
        ({"step": "on: {leader-of: more/1}, fault: {kill: {down-for: 5s}}"}, "more"),
        ({"step": "on: leader, fault: {upgrade: {to: v2}}"}, "v2"),
        ({"step": ROLL}, "replace"),
    ],
)
def test_what_can_be_is_not(changed, gone):
    assert gone in load_text(text(**changed), "checked.yaml").text


# ---------------------------------------------------------------- versions


def asked(yaml, **versions):
    return with_options(load_text(yaml, "checked.yaml"), Options(versions=versions))


def test_a_version_of_kafka_is_what_brokers_are_replaced_by_and_others_are_what_it_starts_with():
    found = asked(text(step=ROLL), kafka="4.2.0", flink="2.2.1")
    assert found.steps[0].fault.version == "4.2.0"
    assert dict(found.stack.versions) == {"flink": "2.2.1"}


def test_without_a_replacement_it_is_what_the_cluster_starts_with():
    assert dict(asked(text(), kafka="4.2.0").stack.versions) == {"kafka": "4.2.0"}


def test_a_component_that_there_is_not_is_refused_beside_a_replacement_too():
    found = asked(text(step=ROLL), kafka="4.2.0", zookeeper="3.9")
    with pytest.raises(UsageError, match="zookeeper"):
        STACKS["streaming"](found)


# ---------------------------------------------------------------- what run refuses, plan refuses


def test_a_limit_that_nothing_tells_of_is_refused_by_the_plan_too(tmp_path):
    yaml = """chaosgate: 1
name: blind
stack: {flink: {taskmanagers: 1}}
load: {records: {topic: in, keys: 4}, rate: 10/s}
duration: 30s
steps: []
gates: [restarts]
abort-when: {quorum-lost: 30s}
"""
    with pytest.raises(CapabilityError, match="no probe of stack 'flink' tells of a quorum"):
        describe(load_text(yaml, "blind.yaml"), "netns", tmp_path)


def test_faults_are_called_as_files_call_them(tmp_path):
    yaml = text(step="on: taskmanager, for: 20s, fault: {disk: {latency: 10ms, of: [sync]}}")
    assert "disk (" in describe(load_text(yaml, "checked.yaml"), "netns", tmp_path)
