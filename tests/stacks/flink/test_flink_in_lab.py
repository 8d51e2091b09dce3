from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.conformance import check_stack
from chaos.model import StackAction, StackSpec
from chaos.probes.flink import ClusterProbe, JobProbe
from chaos.stacks.flink.logs import suspicious_lines
from chaos.stacks.flink.stack import FlinkStack
from tests.stacks.etcd.loopback import until
from tests.stacks.lab_target import opened

SETTINGS = {"taskmanagers": 2, "scheduler": "adaptive"}


@pytest.fixture(scope="module")
def flink(tmp_path_factory):
    stack = FlinkStack.of(StackSpec(name="flink", settings=SETTINGS))
    folder = tmp_path_factory.mktemp("flink")
    with opened(stack, folder) as target:
        check_stack(stack, target, folder / "logs")
        yield stack, target


def operate(stack, operation, node="", **arguments):
    return stack.operate(StackAction(operation=operation, arguments=arguments), node, 120.0)


def busy(told):
    """Return how busy vertices are; a source of the old kind, as datagen's is, tells nothing (FLIP-27)."""
    return [one.value for (name, _), one in told.items() if name == "vertex-busy" and one.value is not None]


def readings(probe):
    return {(reading.name, reading.node): reading for reading in probe.read(4.0)}


@pytest.mark.real
@pytest.mark.slow
def test_every_process_says_its_version(flink):
    versions = flink[0].versions()
    assert {facts["version"] for name, facts in versions.items() if name != "zookeeper1"} == {"2.3.0"}
    assert all(len(facts["sha256"]) == 64 for facts in versions.values())


@pytest.mark.real
@pytest.mark.slow
def test_the_job_is_seen_to_make_progress(flink):
    stack, target = flink
    probe = JobProbe.of(stack, target)
    until(lambda: readings(probe)["checkpoints-completed", ""].value or None, within_s=60)
    before = readings(probe)["vertex-out", "Source: numbers[1]"].value
    until(lambda: readings(probe)["vertex-out", "Source: numbers[1]"].value > before, within_s=60)
    until(lambda: busy(readings(probe)), within_s=60)
    assert readings(probe)["flink-job-state", ""].text == "RUNNING"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_dead_leader_is_followed_by_the_standby_and_the_job_goes_on(flink):
    stack, target = flink
    (leader,) = stack.find("leader", "", 5.0)
    target.lab.stop(leader.name, "jobmanager", grace_s=0.0)
    until(lambda: stack.leader() not in (None, leader.name), within_s=60)
    until(lambda: not stack.not_running(), within_s=60)
    told = readings(ClusterProbe.of(stack, target))
    assert told["up", leader.name].value is None
    assert told["leader", leader.name].value == 0.0
    assert "every task runs" in operate(stack, "restart", leader.name)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_is_rescaled_while_it_runs(flink):
    stack, _ = flink
    assert "rescaled from 2 to 1" in operate(stack, "rescale", parallelism="1")
    assert {vertex.parallelism for vertex in stack.newest().vertices} == {1}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_goes_on_from_its_savepoint_or_begins_anew(flink):
    stack, _ = flink
    before = stack.job_id
    assert "runs from there" in operate(stack, "savepoint-upgrade", to="v1")
    restored = stack.running.jobmanagers.ask(lambda rest: rest.checkpoints(stack.job_id), 5.0)
    assert (stack.job_id != before, restored.restored) == (True, 1)
    assert "without state" in operate(stack, "resubmit", start="earliest")
    anew = stack.running.jobmanagers.ask(lambda rest: rest.checkpoints(stack.job_id), 5.0)
    assert anew.restored == 0


@pytest.mark.real
@pytest.mark.slow
def test_a_job_that_can_not_begin_says_why(flink):
    """The adaptive scheduler takes a job first and looks at its state then; the other one refuses it at once."""
    stack, _ = flink
    stack.submit(replace(stack.submission, savepoint="file:/no/such/savepoint"))
    until(lambda: "numbers is FAILED: REST tells no cause" in stack.not_running(), within_s=60)
    assert "see the JobManagers' logs" in stack.not_running()


@pytest.mark.real
@pytest.mark.slow
def test_what_was_done_to_it_left_nothing_suspicious_in_the_logs(flink):
    stack, _ = flink
    logs = sorted(stack.running.crew.logs.glob("*.log"))
    assert len(logs) == 5
    assert [(log.name, found.line) for log in logs for found in suspicious_lines(log.read_text())] == []
