from __future__ import annotations

from dataclasses import asdict

import pytest

from chaos.conformance import check_stack
from chaos.errors import SpecError, StackError, UsageError
from chaos.model import Reading, StackSpec
from chaos.spec import load_text
from chaos.stacks.flink.logs import suspicious_lines as flink_lines
from chaos.stacks.kafka.settings import KafkaSettings
from chaos.stacks.streaming.logs import suspicious_lines
from chaos.stacks.streaming.settings import StreamingSettings, with_topics
from chaos.stacks.streaming.stack import OfEtcd, StreamingStack, split

TEXT = """
chaosgate: 1
name: counted
stack: {stack}
load: {{records: {{}}, rate: 100/s}}
warm-up: 1s
duration: 20s
steps: {steps}
gates: [no-unexpected-exit]
"""


def read(stack="streaming", steps="[]"):
    return load_text(TEXT.format(stack=stack, steps=steps), "counted.yaml")


def of(versions=None, **settings):
    return StreamingStack.of(StackSpec(name="streaming", settings=settings, versions=versions or {}))


def test_a_name_alone_is_three_brokers_three_taskmanagers_and_the_counting_job():
    stack = StreamingStack.of(read().stack)
    assert stack.flink.settings.job.name == "keyed-count"
    assert [node.name for node in stack.nodes()] == [
        *("kafka1", "kafka2", "kafka3"),
        *("zookeeper1", "jobmanager1", "jobmanager2", "taskmanager1", "taskmanager2", "taskmanager3"),
        "client1",
    ]


def test_what_a_file_says_reaches_both():
    said = "{streaming: {kafka: {brokers: 1, clients: 2}, flink: {taskmanagers: 2, job: {parallelism: 4}}}}"
    stack = StreamingStack.of(read(said).stack)
    assert (stack.kafka.settings.brokers, stack.flink.settings.job.parallelism) == (1, 4)
    assert sum(node.role == "client" for node in stack.nodes()) == 2


def test_the_topics_of_the_job_are_made_as_wide_as_the_widest():
    assert with_topics(KafkaSettings(topics={"in": 8}), ("in", "out")).topics == {"in": 8, "out": 8}
    assert set(of().kafka.settings.topics) == {"in", "out", "win"}
    assert set(of(flink={"job": {"copies": 2}}).kafka.settings.topics) == {"in", "out", "win", "out-2", "win-2"}


@pytest.mark.parametrize("operation", ["upgrade: {to: v2}", "rescale: {parallelism: 1}", "resubmit: {}"])
def test_an_operation_of_a_job_that_has_copies_is_refused_in_its_place(operation):
    stack = "{streaming: {flink: {job: {copies: %d}}}}"
    step = f"[{{at: 5s, on: jobmanager, fault: {{{operation}}}}}]"
    assert read(stack % 1, step).steps
    with pytest.raises(SpecError, match=r"counted.yaml:8:\d+: of which of the job's 2 copies"):
        read(stack % 2, step)
    assert read(stack % 2, "[{at: 5s, on: taskmanager, fault: restart}]").steps


def test_settings_come_back_from_what_a_spec_keeps():
    settings = StreamingSettings()
    assert StreamingSettings.of(asdict(settings)) == settings


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{streaming: {kafka: {brokers: 0}}}", "a cluster has at least one"),
        ("{streaming: {flink: {slots: 0}}}", "a TaskManager offers at least one"),
        ("{streaming: {flnk: {}}}", "no such key 'flnk'"),
    ],
)
def test_what_can_not_be_is_refused_at_its_place(said, problem):
    with pytest.raises(SpecError, match=problem):
        read(said)


@pytest.mark.parametrize(
    ("versions", "settings", "problem"),
    [
        ({"etcd": "3"}, {}, "etcd: streaming has the components kafka, flink, job"),
        ({"job": "v9"}, {}, "job keyed-count v9: no such version; there are v1, v2"),
        ({}, {"zookeeper": {}}, "zookeeper: no such setting; there are kafka, flink"),
    ],
)
def test_a_stack_that_can_not_be_is_refused_before_anything_is_touched(versions, settings, problem):
    with pytest.raises(UsageError, match=problem):
        of(versions, **settings)


def test_each_part_gets_the_versions_of_its_own_components():
    stack = of({"kafka": "4.2.0", "flink": "2.2.1", "job": "v2"})
    assert (stack.kafka.version, stack.flink.version, stack.flink.submission.version) == ("4.2.0", "2.2.1", "v2")
    assert "job keyed-count v2" in stack.origin("")


def test_the_stack_says_of_itself_what_the_engine_relies_on():
    check_stack(of())


@pytest.mark.parametrize(
    "step",
    [
        "{at: 1s, for: 5s, on: broker, fault: kill}",
        "{at: 1s, for: 5s, on: {leader-of: in/2}, fault: kill}",
        "{at: 1s, for: 5s, on: {running: OverAggregate}, fault: {kill: {process: taskmanager}}}",
        "{at: 1s, on: leader, fault: {upgrade: {to: v2}}}",
        "{at: 1s, on: taskmanager, fault: restart}",
    ],
)
def test_a_step_may_be_aimed_at_either(step):
    assert len(read(steps=f"[{step}]").steps) == 1


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("{at: 1s, for: 5s, on: follower, fault: kill}", "no such role 'follower'"),
        ("{at: 1s, for: 5s, on: running, fault: kill}", "running what"),
        ("{at: 1s, for: 5s, on: taskmanager, fault: {kill: {process: etcd}}}", "no process 'etcd'"),
        ("{at: 1s, on: leader, fault: {rescale: {parallelism: 0}}}", "at least one task"),
        ("{at: 1s, on: leader, fault: {resubmit: {start: never}}}", "no such one as 'never'"),
    ],
)
def test_a_step_that_can_not_be_is_refused(step, problem):
    with pytest.raises(SpecError, match=problem):
        read(steps=f"[{step}]")


def test_the_start_is_told_in_the_order_of_time():
    assert split({"b": 3.0, "a": 1.26}, 4.0) == "streaming is up after 4.0 s: a 1.3 s, b 3.0 s"


# ---------------------------------------------------------------- etcd beside them


def test_etcd_is_there_if_it_is_named():
    assert of().etcd is None
    stack = of(etcd={"members": 3})
    assert [node.name for node in stack.nodes() if node.role == "member"] == ["etcd1", "etcd2", "etcd3"]
    assert [node.name for node in stack.nodes() if node.role == "client"] == ["client1"]
    assert "etcd 3.5" in stack.origin("")
    assert of(etcd={"members": 1, "cpu": 0.5}).cpu_limits()["etcd1"] == 0.5


def test_each_workload_is_served_by_its_own_servers():
    with pytest.raises(UsageError, match="add etcd"):
        of().serving("kv")
    with pytest.raises(StackError, match="etcd is not up"):
        of(etcd={}).serving("kv")


@pytest.mark.parametrize("settings", [{"tls": True}, {"user": "root", "password_env": "PASSWORD"}])
def test_an_etcd_that_does_not_let_everybody_in_is_refused(settings):
    with pytest.raises(UsageError, match="leave them out here"):
        of(etcd=settings)


BESIDE = """
chaosgate: 1
name: beside
stack: {stack}
load: {{records: {{}}, rate: 100/s}}
beside: {beside}
warm-up: 1s
duration: 20s
steps: [{{at: 2s, for: 3s, on: {on}, fault: pause}}]
gates: [linearizable: {{of: {of}}}]
"""
WITH_ETCD = "{streaming: {etcd: {members: 3}}}"


def beside(stack=WITH_ETCD, beside="{kv: {}, rate: 50/s}", on="etcd-leader", of="kv"):
    return load_text(BESIDE.format(stack=stack, beside=beside, on=on, of=of), "beside.yaml")


def test_a_second_load_and_the_roles_of_etcd_can_be_said():
    read = beside()
    assert (read.load.workload, read.beside.workload, read.beside.rate_per_s) == ("records", "kv", 50)
    assert read.gates[0].of == "kv"
    assert read.steps[0].on.held_by == "member"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"stack": "streaming", "on": "leader"}, "nothing in this stack answers kv; it serves records"),
        ({"beside": "{records: {}, rate: 50/s}", "of": "records"}, "load has records already"),
        ({"beside": "{kv: {}, rate: 60% of calibration}"}, "a second load goes at a stated rate"),
        ({"beside": "{kv: {}, rate: 50/s, users: 1, processes: 2}"}, "2 processes share 1 user"),
        ({"of": "kvs"}, "of: no load here is of kvs; there is records and kv"),
        ({"of": "records"}, "no gate judges what it sees"),
        ({"beside": "{kv: {}, rate: 50/s, shape: [{ramp: 60s}]}"}, "leave its shape out"),
        ({"on": "{role: etcd-leader, count: 2}"}, "there is one etcd-leader at a time"),
    ],
)
def test_a_second_load_that_could_not_be_is_refused(said, why):
    with pytest.raises(SpecError) as refused:
        beside(**said)
    assert why in str(refused.value)


def test_what_etcd_logs_is_read_as_etcds():
    line = '{"level":"panic","ts":"2026-01-02T03:04:05.678Z","msg":"boom"}'
    assert [one.what for one in suspicious_lines(line)] == ["panic"]
    of_flink = f"2026-01-02T03:04:05.678+00:00 INFO  x\n{line}\n"
    assert [one.what for one in suspicious_lines(of_flink)] == [one.what for one in flink_lines(of_flink)]


class Looking:
    """A probe with a fixed answer."""

    def read(self, timeout_s):
        names = ("leader", "follower", "quorum", "up", "replica")
        return [Reading(name=name, node="etcd1", at_ns=1, value=1.0) for name in names]


def test_what_etcd_tells_is_not_taken_for_flinks():
    assert [reading.name for reading in OfEtcd(Looking()).read(1.0)] == [
        *("etcd-leader", "etcd-follower", "etcd-quorum", "up", "replica")
    ]


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ("ledger: {output: out, windows: win}", "ledger judges win, which nobody reads back; write read: [win, …]"),
        ("output-continues: {limit: 5s, copies: [out-2]}", "judges out-2, which nobody reads back"),
        ("ledger: {input: other}", "judges other, which nobody reads back"),
        ("ledger: {output: out}", ""),
    ],
)
def test_a_gate_of_a_topic_that_nobody_reads_back_is_refused(gate, why):
    text = TEXT.format(stack="streaming", steps="[]").replace("{records: {}", "{records: {read: [out]}")
    text = text.replace("[no-unexpected-exit]", f"[{gate}]")
    if not why:
        assert load_text(text, "read.yaml").gates
        return
    with pytest.raises(SpecError) as refused:
        load_text(text, "read.yaml")
    assert why in str(refused.value)


def test_a_first_load_that_would_be_calibrated_without_the_second_is_refused():
    with pytest.raises(SpecError) as refused:
        load_text(
            BESIDE.format(stack=WITH_ETCD, beside="{kv: {}, rate: 50/s}", on="leader", of="kv").replace(
                "{records: {}, rate: 100/s}", "{records: {}, rate: 60% of calibration}"
            ),
            "beside.yaml",
        )
    assert "it goes at a stated rate" in str(refused.value)


@pytest.mark.parametrize("stack", ["etcd", "kafka"])
def test_a_stack_whose_servers_take_one_load_takes_no_second(stack):
    own, other = ("kv", "records") if stack == "etcd" else ("records", "kv")
    text = BESIDE.format(stack=stack, beside=f"{{{other}: {{}}, rate: 50/s}}", on="leader", of=other)
    with pytest.raises(SpecError) as refused:
        load_text(text.replace("load: {records", f"load: {{{own}"), "beside.yaml")
    assert "the servers of this stack take one load" in str(refused.value)


def test_a_role_of_etcd_without_an_etcd_is_refused():
    with pytest.raises(SpecError, match="no node can be etcd-leader"):
        read(steps="[{at: 2s, for: 3s, on: etcd-leader, fault: pause}]")
