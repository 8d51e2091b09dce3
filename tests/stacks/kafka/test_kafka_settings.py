from __future__ import annotations

from pathlib import Path

import pytest

from chaos.errors import UsageError
from chaos.model import StackSpec
from chaos.spec import load_text
from chaos.stacks import STACKS
from chaos.stacks.java import FAST
from chaos.stacks.kafka import settings as s
from chaos.stacks.kafka.stack import KafkaStack
from chaos.testing import check_stack

ENDPOINTS = {f"kafka{n}": f"10.0.0.{n}:9092" for n in (1, 2, 3)}
QUORUM = {f"kafka{n}": f"10.0.0.{n}:9093" for n in (1, 2, 3)}


def properties(**settings):
    return s.server_properties(s.KafkaSettings(**settings), "kafka2", ENDPOINTS, QUORUM, Path("/data"))


def test_each_broker_is_a_controller_too_and_knows_all_voters():
    made = properties()
    assert made["process.roles"] == "broker,controller"
    assert made["node.id"] == "2"
    assert made["controller.quorum.voters"] == "1@10.0.0.1:9093,2@10.0.0.2:9093,3@10.0.0.3:9093"
    assert made["listeners"] == "PLAINTEXT://10.0.0.2:9092,CONTROLLER://10.0.0.2:9093"
    assert made["advertised.listeners"] == "PLAINTEXT://10.0.0.2:9092"


def test_three_brokers_keep_three_replicas_and_want_two_in_sync():
    made = properties()
    for key in ("default", "offsets.topic", "transaction.state.log"):
        assert made[f"{key}.replication.factor"] == "3"
    assert (made["min.insync.replicas"], made["transaction.state.log.min.isr"]) == ("2", "2")
    lone = s.KafkaSettings(brokers=1)
    assert (lone.replication, lone.in_sync) == (1, 1)


def test_what_the_experiment_says_of_the_brokers_goes_last():
    made = properties(
        session_s=1, heartbeat_s=0.1, config={"num.io.threads": "8", "unclean.leader.election.enable": "true"}
    )
    assert (made["broker.session.timeout.ms"], made["broker.heartbeat.interval.ms"]) == ("1000", "100")
    assert (made["num.io.threads"], made["unclean.leader.election.enable"]) == ("8", "true")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"brokers": 0}, "brokers: a cluster has at least one"),
        ({"clients": 0}, "clients: traffic needs"),
        ({"topics": {"a b": 1}}, "topics: 'a b' is no name of a topic"),
        ({"topics": {"in": 0}}, "topics: in has at least one partition"),
        ({"replicas": 4}, "replicas: each is on a broker of its own, and there are 3"),
        ({"min_in_sync": 4}, "min-in-sync: there are 3 replicas; write 1 to 3"),
        ({"session_s": 0.9}, "session: write at least 4 heartbeats"),
        ({"cpu": 0}, "cpu: more than no core"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_settings_that_can_not_be_are_refused_with_what_would_do(settings, said):
    with pytest.raises(UsageError, match=f"^stack kafka: .*{said}"):
        KafkaStack.of(StackSpec(name="kafka", settings=settings))


def test_a_version_of_something_else_is_refused():
    with pytest.raises(UsageError, match="versions: flink: kafka has one component, 'kafka'"):
        KafkaStack.of(StackSpec(name="kafka", versions={"flink": "2.3.0"}))


def test_the_command_has_the_quick_flags_and_the_broker_s_own_files():
    argv = s.broker_command([Path("/jars/a.jar")], Path("/node"), archive=Path("/classes.jsa"))
    assert set(FAST) <= set(argv)
    assert "-XX:SharedArchiveFile=/classes.jsa" in argv
    assert argv[-2:] == ("kafka.Kafka", "/node/server.properties")
    process = s.broker_process(argv, Path("/node"), Path("/logs/kafka1-kafka.log"))
    assert (process.name, process.cwd, process.log) == ("kafka", "/node", "/logs/kafka1-kafka.log")


def test_a_data_folder_is_described_as_the_storage_tool_would():
    assert s.meta_properties("kafka3", "abc").splitlines() == [
        "version=1",
        f"cluster.id={s.CLUSTER_ID}",
        "node.id=3",
        "directory.id=abc",
    ]
    assert s.properties_text({"a": "1", "b.c": "x"}) == "a=1\nb.c=x\n"


def test_it_conforms_before_it_is_up_and_says_what_would_run():
    stack = KafkaStack.of(StackSpec(name="kafka"))
    check_stack(stack)
    assert [node.name for node in stack.nodes()] == ["kafka1", "kafka2", "kafka3", "client1"]
    assert [node.role for node in STACKS["kafka"].nodes({"brokers": 1, "clients": 1})] == ["broker", "client"]
    assert stack.origin("").startswith("kafka 4.3.1: Maven's org.apache.kafka:kafka_2.13:4.3.1, ")
    assert stack.origin("").endswith("; the default")
    with pytest.raises(UsageError, match=r"kafka 4\.3\.2: no such version; did you mean '4\.3\.1'\?"):
        stack.origin("4.3.2")


# ---------------------------------------------------------------- in a file

FILE = """
chaosgate: 1
name: made
stack: {kafka: {brokers: 3, topics: {in: 4, out: 2}, session: 1s, heartbeat: 100ms}}
load: {kv: {}, rate: 60% of calibration}
duration: 30s
steps:
  - {at: 8s, for: 5s, on: ON, fault: pause}
gates: [no-unexpected-exit]
"""


def selected(on):
    return load_text(FILE.replace("ON", on), "made.yaml").steps[0].on


def test_a_file_can_aim_at_the_leader_of_a_partition():
    on = selected("{leader-of: in/2}")
    assert (on.role, on.argument) == ("leader-of", "in/2")
    assert selected("controller").role == "controller"
    assert selected("{role: broker, count: 2}").count == 2


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("leader-of", r"leader-of what; write on: \{leader-of: …\}"),
        ("{role: leader-of}", r"leader-of what; write on: \{leader-of: …\}"),
        ("{leader-of: in/2, role: broker}", "who is hit is said in one way"),
        ("{leader: in/2}", "no such key 'leader' here"),
        ("follower", "no such role 'follower'"),
    ],
)
def test_a_role_that_is_of_something_says_of_what(on, said):
    with pytest.raises(UsageError, match=said):
        selected(on)


def test_settings_of_a_file_arrive_with_their_units_read():
    read = load_text(FILE.replace("ON", "broker"), "made.yaml").stack.settings
    assert read["topics"] == {"in": 4, "out": 2}
    assert (read["session_s"], read["heartbeat_s"]) == (1.0, 0.1)
