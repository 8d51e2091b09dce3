from __future__ import annotations

from contextlib import nullcontext

import pytest

from chaos.model import Node, StackSpec, Topology
from chaos.probes.flink import ClusterProbe, JobProbe
from chaos.stacks.flink import stack as stack_module
from chaos.stacks.flink.stack import FlinkStack
from tests.stacks.flink.told import ANSWERS, JOB, told


class Nowhere:
    """A target whose nodes are all on loopback."""

    name = "nowhere"

    def __init__(self, stack):
        self._nodes = tuple(Node(name=n.name, role=n.role, address="127.0.0.1") for n in stack.nodes())

    def topology(self):
        return Topology(nodes=self._nodes)

    def entered(self, node=""):
        return nullcontext()


@pytest.fixture
def ask(monkeypatch):
    """Return how to read a probe of a lone JobManager that gives some answers."""

    def read(kind, answers=ANSWERS, job="9e60"):
        stack = FlinkStack.of(StackSpec(name="flink", settings={"standby": False, "job": {"name": "keyed-count"}}))
        stack.job_id = job
        with told(answers) as server:
            monkeypatch.setattr(stack_module, "REST_PORT", int(server.address.rpartition(":")[2]))
            found = kind.of(stack, Nowhere(stack)).read(4.0)
        return {(reading.name, reading.node): reading for reading in found}

    return read


def test_who_is_registered_is_up_and_who_has_tasks_runs(ask):
    found = ask(ClusterProbe)
    assert found["up", "jobmanager1"].value == found["leader", "jobmanager1"].value == 1.0
    assert [found["up", f"taskmanager{n}"].value for n in (1, 2, 3)] == [1.0, 1.0, None]
    assert "not registered" in found["up", "taskmanager3"].why
    assert [found["running", f"taskmanager{n}"].value for n in (1, 2, 3)] == [1.0, 0.0, 0.0]
    assert found["running", "taskmanager1"].text == "any, input, Calc, source"


def test_a_job_is_told_by_counters(ask):
    found = ask(JobProbe)
    values = {name: reading.value for (name, node), reading in found.items() if not node}
    assert values == {
        "flink-job-state": 1.0,
        "flink-restarts": 3.0,
        "checkpoints-completed": 20.0,
        "checkpoints-failed": 2.0,
        "checkpoint-restored": 5.0,
        "checkpoint-duration": 0.018,
        "lag": 41.0,
    }
    assert found["lag", ""].text == "in"
    assert found["checkpoint-duration", ""].text == "20"
    assert found["vertex-out", "Source: input[1]"].value == 3401.0
    assert found["vertex-busy", "Source: input[1]"].value == 0.25


def test_a_source_that_has_told_of_nothing_is_not_up_to_date(ask):
    found = ask(JobProbe, {**ANSWERS, "GET /jobs/9e60/vertices/8045/subtasks/metrics": []})
    assert (found["lag", ""].value, found["lag", ""].text) == (None, "in")


def test_what_is_not_known_is_no_zero(ask):
    silent = ask(JobProbe, {**ANSWERS, "GET /jobs/9e60/metrics": [{"id": "numRestarts", "value": "-1"}]})
    assert silent["flink-restarts", ""].value is None
    assert silent["vertex-busy", "OverAggregate[5]"].value is None


@pytest.mark.parametrize(("answers", "job"), [({}, "9e60"), (ANSWERS, "")])
def test_no_answer_is_told_with_its_reason(ask, answers, job):
    found = ask(JobProbe, answers, job)
    assert found
    assert all(reading.value is None and reading.why for reading in found.values())


def test_a_job_that_restarts_is_not_running_and_says_in_which_state_it_is(ask):
    restarting = {**JOB, "state": "RESTARTING"}
    state = ask(JobProbe, {**ANSWERS, "GET /jobs/9e60": restarting})["flink-job-state", ""]
    assert (state.value, state.text) == (0.0, "RESTARTING")


def test_a_dead_jobmanager_is_no_answer_of_everybody(ask):
    found = ask(ClusterProbe, {})
    assert found["up", "jobmanager1"].value is None
    assert all(found[name, "taskmanager1"].value is None for name in ("up", "running"))
