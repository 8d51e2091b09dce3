from __future__ import annotations

import pytest

from chaos.stacks.flink import roles
from chaos.stacks.flink.rest import Job, Subtask, Vertex

ADDRESSES = {"jobmanager1": "10.0.0.11", "jobmanager2": "10.0.0.12"}
DUMP = """SessionTracker dump:
Global Sessions(3):
0x100000a1\t3000ms
ephemeral nodes dump:
Sessions with Ephemerals (2):
0x100000a1:
\t/flink/lab/leader/latch/_c_6f-latch-0000000001
0x100000a2:
\t/flink/lab/leader/latch/_c_7a-latch-0000000000
\t/flink/lab/leader/resource_manager/connection_info
\t/flink/lab/leader/dispatcher/connection_info
Connections dump:
"""
CONNECTIONS = """ /10.0.0.11:40312[1](queued=0,recved=29,sent=29,sid=0x100000a1,lop=PING,est=1,to=3000,lcxid=0x1)
 /10.0.0.12:40310[1](queued=0,recved=62,sent=63,sid=0x100000a2,lop=PING,est=1,to=3000,lcxid=0x2)
 /10.0.0.1:51000[0](queued=0,recved=1,sent=0)
"""


def vertex(number, name, status="RUNNING"):
    return Vertex(id=f"v{number}", name=name, parallelism=2, status=status, records_in=0, records_out=0)


def job(*vertices, state="RUNNING"):
    return Job(id="j", name="keyed-count", state=state, vertices=vertices, since_ms={})


def subtask(status, taskmanager, number=0):
    return Subtask(number=number, status=status, attempt=1, taskmanager=taskmanager)


def test_the_leader_is_whose_session_holds_its_entry():
    assert roles.leader(DUMP, CONNECTIONS, ADDRESSES) == "jobmanager2"


@pytest.mark.parametrize(
    ("dump", "connections"),
    [
        (DUMP.replace("dispatcher/connection_info", "x"), CONNECTIONS),  # nobody has published itself
        (DUMP, CONNECTIONS.replace("0x100000a2", "0x100000a9")),  # its connection is gone, its session not yet
        ("", ""),
    ],
)
def test_nobody_leads_if_nobody_can_be_named(dump, connections):
    assert roles.leader(dump, connections, ADDRESSES) is None


def test_a_client_that_is_no_jobmanager_leads_nothing():
    assert roles.leader(DUMP, CONNECTIONS.replace("10.0.0.12", "10.0.0.99"), ADDRESSES) is None


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("Source: input[1] -> (Calc[2], LocalWindowAggregate[8])", ("input", "Calc", "LocalWindowAggregate")),
        ("OverAggregate[5] -> Calc[6] -> counts[7]: Writer -> counts[7]: Committer", None),
        ("Map", ("Map",)),
    ],
)
def test_the_operators_in_a_vertex_are_known_by_their_names(name, operators):
    over = ("OverAggregate", "Calc", "counts: Writer", "counts: Committer")
    assert roles.operators(name) == (operators or over)


def test_a_taskmanager_is_called_by_the_operators_in_its_tasks():
    assert roles.titles(["OverAggregate[5] -> Calc[6]"]) == (
        ("any", "OverAggregate", "Calc", "OverAggregate without source", "Calc without source")
    )
    assert roles.titles([]) == ()


def test_a_reader_is_one_whatever_its_table_is_called_and_may_be_kept_out():
    reader, writer = "Source: KafkaSource-default.input", "Calc[2] -> counts[3]: Writer"
    assert "source" in roles.titles([reader])
    assert "Calc without source" in roles.titles([writer])
    assert not {"Calc without source", "KafkaSource-default.input without source"} & {*roles.titles([reader, writer])}


def test_an_idle_or_starting_taskmanager_carries_nothing():
    tasks = [subtask("RUNNING", "taskmanager2"), subtask("INITIALIZING", "taskmanager1"), subtask("RUNNING", "")]
    assert roles.carriers(tasks) == ("taskmanager2",)


def test_a_job_runs_only_when_every_vertex_does():
    assert roles.not_running(job(vertex(1, "a"))) == ""
    assert (
        roles.not_running(job(vertex(1, "a"), vertex(2, "b", "DEPLOYING"))) == "keyed-count is RUNNING; b is DEPLOYING"
    )
    assert "no job" in roles.not_running(None)


def test_a_job_that_fails_says_why():
    said = roles.not_running(job(vertex(1, "a", "CANCELED"), state="RESTARTING"), ["TimeoutException: no broker"])
    assert said == "keyed-count is RESTARTING: TimeoutException: no broker; a is CANCELED"
