from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from chaos.conformance import check_stack
from chaos.errors import SpecError, UsageError
from chaos.model import StackSpec
from chaos.spec import load_text
from chaos.stacks.flink import settings as flink
from chaos.stacks.flink import store
from chaos.stacks.flink.processes import Place, files, process
from chaos.stacks.flink.settings import FlinkSettings, Ground, JobSettings
from chaos.stacks.flink.stack import FlinkStack
from chaos.stacks.flink.versions import Programs

TEXT = """
chaosgate: 1
name: counted
stack:
  flink: {stack}
load: {{kv: {{}}, rate: 100/s}}
warm-up: 1s
duration: 8s
gates: [no-unexpected-exit]
"""
JVMS = ("jobmanager", "taskmanager", "zookeeper")
NAMES = ("jobmanager1", "jobmanager2", "taskmanager1", "taskmanager2", "taskmanager3", "zookeeper1")
GROUND = Ground(addresses={name: f"10.0.0.{i}" for i, name in enumerate(NAMES, 1)}, shared=Path("/lab/shared"))


def of(versions=None, **settings):
    return FlinkStack.of(StackSpec(name="flink", settings=settings, versions=versions or {}))


def read(stack):
    return load_text(TEXT.format(stack=stack), "counted.yaml").stack.settings


def written(role, **settings):
    place = Place(role=role, name=f"{role}1", folder=Path("/lab") / role, log=Path("/logs/x.log"))
    return {path.name: text for path, text in files(FlinkSettings(**settings), GROUND, place).items()}


def options(role, **settings):
    return yaml.safe_load(written(role, **settings)["config.yaml"])


@pytest.fixture
def programs(tmp_path):
    names = (
        "dist",
        "table-api-java-uber",
        "table-runtime",
        "json",
        "sql-connector-kafka",
        "table-planner-loader",
        "cep",
    )
    for name in (*(f"flink-{name}" for name in names), "log4j-api", "log4j-core", "log4j-slf4j-impl"):
        (tmp_path / f"{name}-1.0.jar").touch()
    return Programs(version="1.0", folder=tmp_path, archives={"taskmanager": tmp_path / "taskmanager.jsa"})


# ---------------------------------------------------------------- what a file may say


def test_a_file_says_it_in_units_and_names_the_job():
    read_as = read(
        "{checkpoint: 500ms, job: {name: keyed-count, guarantee: at-least-once}, config: {web.timeout: 1 s}}"
    )
    settings = FlinkSettings.of(read_as)
    assert (settings.checkpoint_s, settings.job.guarantee) == (0.5, "at-least-once")
    assert settings.config == {"web.timeout": "1 s"}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{taskmanagers: 0}", "a job runs on at least one"),
        ("{job: {guarantee: twice}}", "no such one as 'twice'; there are exactly-once, at-least-once"),
        ("{job: {start: never}}", "no such one as 'never'; there are earliest, latest"),
        ("{slots: 1, job: {parallelism: 4}}", "parallelism 4: there are 3 slots"),
        ("{job: {parallelism: 3, copies: 3}}", "parallelism 9: there are 6 slots"),
        ("{job: {copies: 0}}", "1 for a job that runs alone"),
        ("{scheduler: none}", "no such one as 'none'; there are default, adaptive"),
        ("{heartbeat: 3s}", "heartbeat-timeout: longer than a heartbeat"),
    ],
)
def test_what_can_not_be_is_refused(said, problem):
    with pytest.raises(SpecError, match=problem):
        read(said)


@pytest.mark.parametrize(
    ("versions", "settings", "problem"),
    [
        ({"job": "v9"}, {}, "job numbers v9: no such version; there are v1"),
        ({"kafka": "4"}, {}, "kafka: flink has the components 'flink' and 'job'"),
        ({}, {"job": {"name": "keyd-count"}}, "did you mean 'keyed-count'"),
        ({}, {"taskmanagers": 0}, "stack flink: taskmanagers"),
    ],
)
def test_a_stack_that_can_not_be_is_refused_before_anything_is_touched(versions, settings, problem):
    with pytest.raises(UsageError, match=problem):
        of(versions, **settings)


def test_the_stack_says_of_itself_what_the_engine_relies_on():
    check_stack(of())
    assert [node.name for node in of(taskmanagers=2, standby=False).nodes()] == [
        "jobmanager1",
        "taskmanager1",
        "taskmanager2",
        "client1",
    ]


# ---------------------------------------------------------------- what its processes read


@pytest.mark.parametrize("role", ["jobmanager", "taskmanager"])
def test_no_option_is_read_as_anything_but_a_text(role):
    assert {type(value) for value in options(role).values()} == {str}


def test_every_process_listens_on_its_own_address_alone():
    assert options("jobmanager")["rest.bind-address"] == options("jobmanager")["jobmanager.bind-host"] == "10.0.0.1"
    assert options("taskmanager")["taskmanager.bind-host"] == "10.0.0.3"
    assert "clientPortAddress=10.0.0.6\n" in written("zookeeper")["zoo.cfg"]


def test_a_taskmanager_is_known_by_the_name_of_its_node():
    assert options("taskmanager")["taskmanager.resource-id"] == "taskmanager1"


def test_without_a_standby_nobody_is_elected():
    assert not [key for key in options("jobmanager", standby=False) if key.startswith("high-availability")]
    assert options("jobmanager")["high-availability.zookeeper.quorum"] == "10.0.0.6:2181"


def test_without_checkpoints_there_is_no_interval():
    assert "execution.checkpointing.interval" not in options("jobmanager", checkpoint_s=0.0)
    assert options("jobmanager")["execution.checkpointing.interval"] == "1000 ms"


def test_a_job_that_may_not_restart_stays_failed():
    assert options("jobmanager", restarts=False)["restart-strategy.type"] == "none"


def test_what_an_experiment_configures_goes_before_what_is_set_here():
    assert options("jobmanager", config={"heartbeat.timeout": "9 s"})["heartbeat.timeout"] == "9 s"
    assert options("taskmanager", config={"x.y": "it's 1"})["x.y"] == "it's 1"


def test_the_adaptive_scheduler_does_not_wait_for_slots_that_may_come():
    found = options("jobmanager", scheduler="adaptive")
    assert found["jobmanager.scheduler"] == "adaptive"
    assert found["jobmanager.adaptive-scheduler.executing.resource-stabilization-timeout"] == "0 s"


def test_zookeeper_tells_who_is_who():
    assert "4lw.commands.whitelist=srvr,dump,cons\n" in written("zookeeper")["zoo.cfg"]
    assert written("zookeeper")["myid"] == "1\n"


# ---------------------------------------------------------------- how they are started


def command(programs, role):
    place = Place(role=role, name=f"{role}1", folder=Path("/lab/node"), log=Path("/logs/node.log"))
    return process(programs, place)


def test_a_process_is_called_as_its_role_and_reads_its_own_folder(programs):
    made = command(programs, "jobmanager")
    assert (made.name, made.argv[-4:]) == (
        "jobmanager",
        ("--configDir", "/lab/node/jobmanager", "--executionMode", "cluster"),
    )
    assert command(programs, "zookeeper").argv[-4:] == (
        "--zkConfigFile",
        "/lab/node/zookeeper/zoo.cfg",
        "--peerId",
        "1",
    )


def test_a_class_archive_is_used_where_there_is_one(programs):
    shared = [f"-XX:SharedArchiveFile={programs.folder / 'taskmanager.jsa'}"]
    assert [part for part in command(programs, "taskmanager").argv if "SharedArchive" in part] == shared
    assert not [part for part in command(programs, "jobmanager").argv if "SharedArchive" in part]


def test_only_a_jobmanager_loads_the_planner(programs):
    loads = {role: any("planner" in part for part in command(programs, role).argv) for role in JVMS}
    assert loads == {"jobmanager": True, "taskmanager": False, "zookeeper": False}


def test_a_checkpoint_store_is_a_node_of_its_own_that_everybody_finds():
    stack = of(store=True)
    assert next((node.name, node.role) for node in stack.nodes()) == ("store1", "store")
    assert not [node for node in of().nodes() if node.role == "store"]
    ground = Ground(addresses={**GROUND.addresses, "store1": "10.0.0.9"}, shared=Path("/lab/shared"))
    made = flink.common(FlinkSettings(store=True), ground)
    assert made["execution.checkpointing.dir"] == "s3://checkpoints/checkpoints"
    assert made["execution.checkpointing.savepoint-dir"] == "s3://checkpoints/savepoints"
    assert made["s3.endpoint"] == "http://10.0.0.9:7070"
    assert made["high-availability.storageDir"].startswith("file:"), "who leads must not depend on the store"
    assert flink.common(FlinkSettings(), ground)["execution.checkpointing.dir"] == "file:///lab/shared/checkpoints"


def test_the_processes_that_write_checkpoints_find_the_plugin_and_the_store_runs_its_own_program(programs, tmp_path):
    with_store = replace(programs, gateway=Path("/cache/objects"), plugins=Path("/cache/plugins"))
    assert command(with_store, "taskmanager").env == {"FLINK_PLUGINS_DIR": "/cache/plugins"}
    assert command(programs, "taskmanager").env == {}
    place = Place(role="store", name="store1", folder=tmp_path, log=tmp_path / "log")
    made = process(with_store, place, address="10.0.0.9")
    assert made.argv[:3] == ("/cache/objects", "--listen", "10.0.0.9:7070")
    assert (tmp_path / "objects/checkpoints").is_dir()
    assert files(FlinkSettings(store=True), GROUND, place) == {}


def test_the_store_s_version_is_the_one_that_is_pinned():
    assert re.fullmatch(r"\d+\.\d+\.\d+", store.version())


def test_two_jars_of_one_name_are_refused(programs):
    (programs.folder / "flink-dist-2.0.jar").touch()
    with pytest.raises(UsageError, match="2 jars flink-dist"):
        _ = programs.dist


def test_the_default_of_a_job_is_exactly_once_from_the_beginning():
    assert (JobSettings().guarantee, JobSettings().start) == ("exactly-once", "earliest")
