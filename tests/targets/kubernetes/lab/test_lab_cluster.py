"""A real Kubernetes: it schedules, names, evicts and misses nodes as any does, and leaves this machine alone."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

from chaos.targets.kubernetes.lab import plan
from chaos.targets.kubernetes.lab.programs import PAUSE, VERSION
from tests.stacks.etcd.loopback import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

READY_S = 60
SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")


def settings():
    return {name: Path("/proc/sys", name).read_text() for name in SETTINGS}


MACHINES_OWN = settings()


def stateful_set(name, replicas):
    spread = {"labelSelector": {"matchLabels": {"app": name}}, "topologyKey": plan.ZONE}
    pod = {
        "terminationGracePeriodSeconds": 1,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [spread]}},
        "containers": [{"name": "c", "image": PAUSE, "imagePullPolicy": "Never"}],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {
        "serviceName": name,
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": name}},
        "template": template,
    }
    return {"metadata": {"name": name}, "spec": spec}


def pods(core, name):
    return core.list_namespaced_pod("default", label_selector=f"app={name}").items


def ready(core, name):
    found = [
        p for p in pods(core, name) if any(c.type == "Ready" and c.status == "True" for c in p.status.conditions or ())
    ]
    return [p for p in found if p.metadata.deletion_timestamp is None]


@pytest.fixture
def spread(client, request):
    """Three pods, one a zone; gone afterwards."""
    core, apps, _ = client
    name = f"spread-{abs(hash(request.node.name)) % 10**6}"
    core.create_namespaced_service(
        "default",
        {"metadata": {"name": name}, "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 80}]}},
    )
    apps.create_namespaced_stateful_set("default", stateful_set(name, 3))
    until(lambda: len(ready(core, name)) == 3, within_s=READY_S)
    yield name
    apps.delete_namespaced_stateful_set(name, "default")
    core.delete_namespaced_service(name, "default")
    until(lambda: not pods(core, name), within_s=READY_S)


def asked(server, name):
    """Ask a DNS server for an A record (RFC 1035 §4); return the addresses."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.sendto(question, (server, 53))
        answer = one.recv(4096)
    count = struct.unpack_from("!H", answer, 6)[0]
    marker = struct.pack("!2H", 1, 1)
    found, at = [], len(question)
    for _ in range(count):
        at = answer.index(marker, at) + 10
        found.append(socket.inet_ntoa(answer[at : at + 4]))
        at += 4
    return found


def test_its_nodes_are_ready_in_their_zones_and_say_which_version_they_run(cluster, client):
    core, _, _ = client
    nodes = {node.metadata.name: node for node in core.list_node().items}
    assert {name: node.metadata.labels[plan.ZONE] for name, node in nodes.items()} == {
        "node1": "a",
        "node2": "b",
        "node3": "c",
    }
    assert {node.status.node_info.kubelet_version for node in nodes.values()} == {f"v{VERSION}"}
    assert all(cluster.api.is_ready(name) for name in nodes)
    assert list(cluster.times) == sorted(cluster.times, key=cluster.times.get)


def test_the_machines_own_settings_are_left_alone(cluster):
    assert cluster.api.serves()
    assert settings() == MACHINES_OWN


def test_pods_are_spread_over_zones_and_found_by_name(cluster, client, spread):
    core, _, _ = client
    assert {pod.spec.node_name for pod in pods(core, spread)} == {"node1", "node2", "node3"}
    address = {pod.metadata.name: pod.status.pod_ip for pod in pods(core, spread)}
    with cluster.lab.entered(""):
        server = cluster.layout.addresses[plan.CONTROL]
        named = f"{spread}.default.svc.cluster.local"
        assert set(until(lambda: len(found := asked(server, named)) == 3 and found, within_s=15)) == set(
            address.values()
        )
        assert asked(server, f"{spread}-0.{named}") == [address[f"{spread}-0"]]


def test_a_budget_refuses_an_eviction(client, spread):
    from kubernetes.client.exceptions import ApiException

    core, _, policy = client
    budget = {"metadata": {"name": spread}, "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": spread}}}}
    policy.create_namespaced_pod_disruption_budget("default", budget)
    try:
        until(
            lambda: policy.read_namespaced_pod_disruption_budget(spread, "default").status.current_healthy == 3,
            within_s=READY_S,
        )
        with pytest.raises(ApiException) as refused:
            core.create_namespaced_pod_eviction(f"{spread}-0", "default", {"metadata": {"name": f"{spread}-0"}})
        assert refused.value.status == 429
        assert "DisruptionBudget" in refused.value.body
    finally:
        policy.delete_namespaced_pod_disruption_budget(spread, "default")


def test_a_node_without_power_is_missed_and_its_pod_runs_again_when_it_is_back(cluster, client, spread):
    core, _, _ = client
    victim = next(pod for pod in pods(core, spread) if pod.spec.node_name == "node2")
    began = time.monotonic()
    cluster.power_off("node2")
    assert time.monotonic() - began < 5, "a power cut is no shutdown"
    cluster.await_node("node2", ready=False)
    until(
        lambda: core.read_namespaced_pod(victim.metadata.name, "default").metadata.deletion_timestamp, within_s=READY_S
    )
    cluster.power_on("node2")
    cluster.await_node("node2")
    until(lambda: len(ready(core, spread)) == 3, within_s=READY_S)
    again = core.read_namespaced_pod(victim.metadata.name, "default")
    assert (again.metadata.uid, again.spec.node_name) != (victim.metadata.uid, "node1")


def test_a_kubelet_that_is_killed_is_missed_and_its_containers_run_on(cluster, client, spread):
    core, _, _ = client
    before = next(pod for pod in pods(core, spread) if pod.spec.node_name == "node1").status.container_statuses[0]
    cluster.signal("node1", "kubelet", "KILL")
    cluster.await_node("node1", ready=False)
    cluster.revive("node1", "kubelet")
    cluster.await_node("node1")
    until(lambda: len(ready(core, spread)) == 3, within_s=READY_S)
    after = next(p for p in pods(core, spread) if p.spec.node_name == "node1").status.container_statuses[0]
    assert (after.container_id, after.restart_count) == (before.container_id, 0)


def test_an_api_server_that_is_killed_comes_back_and_pods_never_noticed(cluster, client, spread):
    core, _, _ = client
    before = {p.metadata.name: p.status.container_statuses[0].container_id for p in pods(core, spread)}
    cluster.signal(plan.CONTROL, "kube-apiserver", "KILL")
    assert not cluster.api.serves()
    cluster.revive(plan.CONTROL, "kube-apiserver")
    cluster.wait("the API server", cluster.api.serves, READY_S)
    until(lambda: len(ready(core, spread)) == 3, within_s=READY_S)
    assert {p.metadata.name: p.status.container_statuses[0].container_id for p in pods(core, spread)} == before
