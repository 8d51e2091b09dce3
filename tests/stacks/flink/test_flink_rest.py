from __future__ import annotations

import json

import pytest

from chaos.stacks.flink.rest import Busy, FlinkRest, JobManagers, RestError, cause, refusal
from tests.stacks.flink.told import ANSWERS, REFUSED, told


@pytest.fixture
def asked():
    with told() as server:
        yield server


@pytest.fixture
def rest(asked):
    with FlinkRest(asked.address, timeout_s=5.0) as made:
        yield made


# ---------------------------------------------------------------- answers


def test_the_cluster_is_read(rest):
    assert rest.version() == "2.3.0"
    assert rest.taskmanagers() == ("taskmanager1", "taskmanager2")
    assert (rest.overview().slots, rest.overview().slots_free) == (4, 2)
    assert [(job.id, job.state) for job in rest.jobs()] == [("9e60", "RUNNING")]


def test_a_job_is_read_with_its_vertices_and_the_states_it_has_been_in(rest):
    job = rest.job("9e60")
    assert job.runs
    assert job.since_ms == {"RUNNING": 1795252996747}
    assert [(v.records_in, v.records_out) for v in job.vertices] == [(0, 3401), (3399, 7)]


def test_a_subtask_that_was_not_deployed_is_on_no_taskmanager(rest):
    assert rest.subtasks("9e60", "8045")[0].taskmanager == "taskmanager1"
    assert rest.subtasks("9e60", "b717")[0].taskmanager == ""


def test_checkpoints_are_read_with_the_newest(rest):
    found = rest.checkpoints("9e60")
    assert (found.completed, found.failed, found.restored) == (20, 2, 5)
    assert (found.newest_s, found.newest_id, found.restored_id) == (0.018, 20, None)


def test_shares_of_time_are_shares_and_silence_is_none(rest):
    assert rest.busy("9e60", "8045") == Busy(busy=0.25, backpressured=0.1)
    assert rest.busy("9e60", "b717") is None


def test_a_savepoint_lies_somewhere_or_is_being_made_or_failed(rest):
    assert rest.savepoint("9e60", "made") == "file:/s"
    assert rest.savepoint("9e60", "waits") == ""
    with pytest.raises(RestError, match="the savepoint failed: CheckpointException: declined"):
        rest.savepoint("9e60", "fails")


# ---------------------------------------------------------------- changes


def test_a_script_is_run_by_the_driver_of_the_jar_that_was_uploaded(rest, asked, tmp_path):
    jar = tmp_path / "runner.jar"
    jar.write_bytes(b"PK...")
    assert rest.run_sql(rest.upload(jar), "SELECT 1;") == "9e60"
    what, _, body = asked.asked[-1]
    assert what == "POST /jars/0871_runner.jar/run"
    assert json.loads(body)["programArgsList"] == ["--script", "SELECT 1;"]
    assert b"PK..." in asked.asked[0][2]


def test_a_script_can_be_planned_without_being_run(rest, asked):
    rest.plan_sql("0871_runner.jar", "SELECT 1;")
    what, _, body = asked.asked[-1]
    assert what == "POST /jars/0871_runner.jar/plan"
    assert json.loads(body)["programArgsList"] == ["--script", "SELECT 1;"]
    with pytest.raises(RestError, match="Table 'inptu' not found"):
        rest.plan_sql("refused.jar", "x")


def test_a_job_is_stopped_without_draining_it(rest, asked):
    assert rest.stop("9e60", "file:/savepoints") == "made"
    assert json.loads(asked.asked[-1][2]) == {"drain": False, "targetDirectory": "file:/savepoints"}


# ---------------------------------------------------------------- refusals


def test_a_refusal_names_the_last_cause(rest):
    with pytest.raises(RestError, match=r"ValidationException: Table 'inptu' not found; is it misspelt\?$") as caught:
        rest.run_sql("refused.jar", "x")
    assert caught.value.status == 400


def test_what_is_not_there_is_said_with_its_status(rest):
    with pytest.raises(RestError, match="GET /jobs/none: Not found: /jobs/none") as caught:
        rest.job("none")
    assert caught.value.status == 404


def test_what_is_no_json_is_no_answer(rest):
    with pytest.raises(RestError, match="no JSON"):
        rest._get("/broken")


def test_silence_has_no_status():
    with FlinkRest("127.0.0.1:9", timeout_s=1.0) as nobody, pytest.raises(RestError) as caught:
        nobody.overview()
    assert caught.value.status == 0


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ("org.a.B: outer\n\tat x\nCaused by: org.c.D: inner\n\tat y", "D: inner"),
        ("org.a.B: only\n\tat x", "B: only"),
        ("Job could not be found", "Job could not be found"),
        ("Caused by: java.lang.NullPointerException\n\tat x", "NullPointerException"),
        ("a.B: x\\nCaused by: c.D: escaped\\n\\tat", "D: escaped"),
        ("", ""),
    ],
)
def test_the_last_cause_is_found_in_a_trace(trace, said):
    assert cause(trace) == said


def test_a_refusal_that_is_no_json_is_quoted():
    assert refusal("<html>Bad Gateway</html>") == "<html>Bad Gateway</html>"
    assert refusal("[]") == "[]"
    assert refusal(json.dumps({"errors": []})) == ""
    assert "inptu" in refusal(json.dumps(REFUSED))


# ---------------------------------------------------------------- several JobManagers


def test_the_next_jobmanager_is_asked_if_one_does_not_answer(asked):
    managers = JobManagers(endpoints={"jobmanager1": "127.0.0.1:9", "jobmanager2": asked.address})
    assert managers.ask(FlinkRest.version, 4.0) == "2.3.0"


def test_a_standby_without_a_leader_is_passed_over(asked):
    lost = {
        **ANSWERS,
        "GET /overview": (503, {"errors": ["Service temporarily unavailable due to an ongoing leader election."]}),
    }
    with told(lost) as standby:
        managers = JobManagers(endpoints={"jobmanager1": standby.address, "jobmanager2": asked.address})
        assert managers.ask(FlinkRest.overview, 4.0).taskmanagers == 2


def test_nobody_answers_for_all():
    managers = JobManagers(endpoints={"jobmanager1": "127.0.0.1:9", "jobmanager2": "127.0.0.1:9"})
    with pytest.raises(RestError, match="GET /config"):
        managers.ask(FlinkRest.version, 1.0)
