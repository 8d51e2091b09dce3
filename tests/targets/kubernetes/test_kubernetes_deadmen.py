"""Whoever dies on the way to a pod takes its fault along: agent, its pod, stream, API server, controller."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from kubernetes.client import ApiException

from chaos.errors import AgentError, CapabilityError, TargetError, UsageError
from chaos.model import Aimed, Impairment, Proof, Shape, Signal
from chaos.targets.kubernetes import install
from chaos.targets.kubernetes.lab import plan
from chaos.targets.kubernetes.safety import Held
from chaos.targets.kubernetes.target import KubernetesTarget, open_kubernetes
from tests.leftovers import await_true
from tests.targets.kubernetes.served import LEASE_S, READY_S, ROLES, run
from tests.targets.told import PATIENCE_S, evidence_of

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]

STOPPED = Signal(signal="STOP")
STATES = "from chaos.agent import pods; print(*(pods.state(pid) for pid in pods.members({uid!r})))"
AGENT = [b"-m", b"chaos.agent", b""]
STANDBY = [b"-m", b"chaos.agent", b"standby", install.JOURNAL.encode(), b""]
KILL = """
import os, pathlib, signal
for folder in pathlib.Path("/proc").iterdir():
    try:
        argv = (folder / "cmdline").read_bytes().split(b"\\0")
    except OSError:
        continue
    if argv[1:] == {argv!r}:
        os.kill(int(folder.name), signal.SIGKILL)
"""


@pytest.fixture
def target(served, tmp_path):
    with open_kubernetes(served, "default", ROLES, evidence=tmp_path, lease_s=LEASE_S) as one:
        yield one


def agent_of(access, machine):
    return install.agent_pods(access, [machine])[machine]


def on(access, machine, code):
    argv = ["python3", "-c", code]
    return run(access.api, install.NAMESPACE, agent_of(access, machine), "agent", argv, PATIENCE_S)


def stopped(access, pod):
    """Whether the pod's processes stand still, as its machine's kernel has it."""
    states = on(access, pod.machine, STATES.format(uid=pod.uid)).split()
    if not states:
        raise OSError("the agent's container told nothing")
    return all(state == "T" for state in states)


def is_another(access, machine, old):
    try:
        return agent_of(access, machine) != old
    except CapabilityError:
        return False


def stop(target, name="served-0"):
    pod = next(one for one in target.pods if one.name == name)
    injection = target.inject([Aimed(subject=name, action=STOPPED)], deadline_s=120)
    evidence_of(injection, "confirm", Proof.CONFIRMED)
    assert stopped(target.access, pod)
    return pod, injection


def test_an_agent_that_is_killed_is_told_of_and_its_standby_undoes_what_it_did(served, target):
    pod, injection = stop(target)
    on(served, pod.machine, KILL.format(argv=AGENT))
    assert "the agent in chaosgate-agent-" in evidence_of(injection, "watch", Proof.MISMATCH).detail
    await_true("the pod goes on", lambda: not stopped(served, pod), within_s=15)
    assert injection.heal().result(READY_S).proof is Proof.CONFIRMED


def test_an_agents_pod_that_is_deleted_undoes_what_it_did_before_it_goes(served, target):
    pod, injection = stop(target)
    old = agent_of(served, pod.machine)
    served.core.delete_namespaced_pod(old, install.NAMESPACE, grace_period_seconds=0)
    assert "the agent undid it by itself" in evidence_of(injection, "watch", Proof.MISMATCH).detail
    await_true("there is another", lambda: is_another(served, pod.machine, old), within_s=READY_S)
    install.await_ready(served)
    assert not stopped(served, pod)
    with pytest.raises(AgentError):
        target.client.ask("observe", 5.0, kind="signal", undo={"subject": pod.name, "name": "x", "process": ""})
    assert injection.heal().result(READY_S).proof is Proof.CONFIRMED


def test_a_container_that_is_killed_leaves_its_undo_to_the_next_one(served, target):
    """Its first process takes all others with it, and nobody had time to undo anything."""
    pod, injection = stop(target)
    with contextlib.suppress(OSError):
        on(served, pod.machine, KILL.format(argv=STANDBY))
    assert "is gone" in evidence_of(injection, "watch", Proof.MISMATCH).detail
    await_true("the pod goes on", lambda: goes_on(served, pod), within_s=30)
    assert injection.heal().result(READY_S).proof is Proof.CONFIRMED


def goes_on(access, pod):
    try:
        return not stopped(access, pod)
    except (OSError, TargetError, CapabilityError, ApiException):  # the container is not there yet
        return False


def test_streams_that_are_cut_end_the_fault(served, target):
    pod, injection = stop(target)
    for agent in target.client._agents.values():
        agent._questions._channel._socket.sock.shutdown(socket.SHUT_RDWR)
    evidence_of(injection, "watch", Proof.MISMATCH)
    await_true("the pod goes on", lambda: not stopped(served, pod), within_s=15)
    assert injection.heal().result(READY_S).proof is Proof.CONFIRMED


def test_an_api_server_that_stands_still_ends_the_fault_by_the_lease(served, cluster, target):
    """Nothing comes through any more, and no stream has ended: only the missed heartbeat tells."""
    pod, injection = stop(target)
    cluster.signal(plan.CONTROL, "kube-apiserver", "STOP")
    try:
        time.sleep(LEASE_S + 1.5)
    finally:
        cluster.signal(plan.CONTROL, "kube-apiserver", "CONT")
    cluster.wait("the API server", cluster.api.serves, READY_S)
    assert not stopped(served, pod)
    injection.heal().result(READY_S)


def held(access):
    from kubernetes import client

    spec = client.CoordinationV1Api(access.api).read_namespaced_lease("chaosgate", "default").spec
    return Held.read(spec).lives(datetime.now(tz=UTC))


CONTROLLER = """
import json, sys, time
from pathlib import Path
from chaos.model import Aimed, Impairment, Shape, Signal
from chaos.targets.kubernetes import safety
from chaos.targets.kubernetes.access import connect
from chaos.targets.kubernetes.target import open_kubernetes

safety.DURATION_S, safety.RENEWED_EVERY_S = 6, 2
with open_kubernetes(connect(sys.argv[1]), "default", json.loads(sys.argv[2]), evidence=Path(sys.argv[3])) as target:
    target.inject([Aimed(subject="served-0", action=Signal(signal="STOP"))], deadline_s=300)
    print("in force", flush=True)
    time.sleep(300)
"""


def test_a_controller_that_is_killed_takes_its_fault_with_it(served, cluster, tmp_path):
    argv = [sys.executable, "-c", CONTROLLER, str(cluster.kubeconfig), json.dumps(ROLES), str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout.readline() == "in force\n"
        os.kill(controller.pid, signal.SIGKILL)
    with pytest.raises(UsageError, match=rf"is held by .*/{controller.pid}/"):
        KubernetesTarget(served, "default", ROLES, tmp_path)
    await_true("its lease has run out", lambda: not held(served), within_s=40)
    with open_kubernetes(served, "default", ROLES, evidence=tmp_path, lease_s=LEASE_S) as target:
        pod = next(one for one in target.pods if one.name == "served-0")
        assert not stopped(served, pod)
        injection = target.inject(
            [Aimed(subject="served-0", action=Shape(impairment=Impairment(loss=0.3)))], deadline_s=60
        )
        assert evidence_of(injection, "confirm").proof is Proof.CONFIRMED
        assert injection.heal().result(READY_S).proof is Proof.CONFIRMED
