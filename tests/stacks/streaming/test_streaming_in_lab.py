from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from chaos.conformance import check_stack
from chaos.errors import StackError
from chaos.model import StackAction, StackSpec
from chaos.stacks.flink import jobs
from chaos.stacks.streaming.stack import StreamingStack, split
from tests.stacks.etcd.loopback import until
from tests.stacks.lab_target import opened

FEEDER = Path(__file__).with_name("feeder.py")
RATE, FED_S_MAX = 200, 240


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    stack = StreamingStack.of(StackSpec(name="streaming"))
    folder = tmp_path_factory.mktemp("streaming")
    stack.provide((), print)
    with opened(stack, folder) as target:
        began = time.monotonic()
        check_stack(stack, target, folder / "logs")
        say(split(stack.phases, time.monotonic() - began))
        yield stack, target


def say(text):
    """Tell it whoever runs pytest with -s: how long things take differs, and is worth knowing."""
    sys.stdout.write(f"\n{text}\n")


def brokers(stack):
    return ",".join(stack.endpoints().values())


def feeding(stack, target):
    argv = [sys.executable, str(FEEDER), "feed", brokers(stack), str(RATE), str(FED_S_MAX)]
    return target.spawn("client1", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def topics(stack, target, *names):
    reader = target.spawn("client1", [sys.executable, str(FEEDER), "read", brokers(stack), *names], stdout=-1)
    return json.loads(reader.communicate(timeout=90)[0])


def traffic(rows):
    """Leave out the end markers."""
    return [row for row in rows if not row[3]["k"].startswith("-")]


def ended(stack, target):
    """Whether every end marker has come out again."""
    return sum(row[3]["k"].startswith("-") for row in topics(stack, target, "out")["out"]) >= 4


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_record_is_counted_once_through_a_kill_and_an_upgrade(streaming, monkeypatch):
    stack, target = streaming
    feeder = feeding(stack, target)

    until(lambda: topics(stack, target, "out")["out"], within_s=60)
    (victim, *_) = stack.find("running", "OverAggregate", 5.0)
    target.lab.stop(victim.name, "taskmanager", grace_s=0.0)
    until(stack.flink.not_running, within_s=30)
    began = time.monotonic()
    until(lambda: not stack.flink.not_running(), within_s=60)
    say(f"killed {victim.name}: every task runs again {time.monotonic() - began:.1f} s after that was noticed")
    assert victim not in stack.find("running", "any", 5.0)
    stack.operate(StackAction(operation="restart"), victim.name, 60.0)

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "script", lambda *_: "SELECT * FROM inptu;")
        with pytest.raises(StackError, match="inptu"):
            stack.operate(StackAction(operation="savepoint-upgrade", arguments={"to": "v2"}), "", 60.0)
    assert not stack.flink.not_running(), "what can't be planned is refused while the old one runs"

    say(stack.operate(StackAction(operation="savepoint-upgrade", arguments={"to": "v2"}), "", 60.0))
    until(lambda: any(row[3]["job"] == "v2" for row in topics(stack, target, "out")["out"]), within_s=60)
    fed = json.loads(feeder.communicate(timeout=120)[0])
    until(lambda: ended(stack, target), within_s=90)

    logged = topics(stack, target, "in", "out", "win")
    written, counted = traffic(logged["in"]), traffic(logged["out"])
    assert fed["acked"] == fed["sent"] == len(written)
    assert Counter((r[3]["k"], r[3]["n"]) for r in counted) == Counter((r[3]["k"], r[3]["n"]) for r in written)
    assert all(r[3]["count"] == r[3]["n"] + 1 for r in counted), "state was lost or doubled"
    assert {r[3]["job"] for r in counted} == {"v1", "v2"}
    assert windows(logged["win"]) == recounted(written)


def windows(rows):
    return {(r[3]["k"], r[3]["window_ms"]): r[3]["count"] for r in traffic(rows)}


def recounted(rows):
    return dict(Counter((r[3]["k"], r[2] // 1000 * 1000) for r in rows))


@pytest.mark.real
@pytest.mark.slow
def test_the_records_of_a_key_stay_in_one_partition_and_in_order(streaming):
    stack, target = streaming
    until(lambda: topics(stack, target, "out")["out"], within_s=60)
    placed = {}
    for partition, _, _, value in sorted(topics(stack, target, "out")["out"], key=lambda row: (row[0], row[1])):
        placed.setdefault((value["k"], partition), []).append(value["n"])
    assert len(placed) == len({key for key, _ in placed})
    assert all(numbers == sorted(numbers) for numbers in placed.values())


@pytest.mark.real
@pytest.mark.slow
def test_roles_of_both_stacks_are_found(streaming):
    stack, _ = streaming
    assert len(stack.find("leader", "", 5.0)) == len(stack.find("controller", "", 5.0)) == 1
    assert [node.role for node in stack.find("leader-of", "in/0", 5.0)] == ["broker"]
    assert {node.role for node in stack.find("running", "any", 5.0)} == {"taskmanager"}
    assert stack.find("running", "no such vertex", 5.0) == ()
    assert {facts["version"] for facts in stack.versions().values()} >= {"2.3.0", "4.3.1"}
