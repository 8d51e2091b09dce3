"""Who is where in a cluster of our own, and what its servers are told: values to values."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import UsageError
from chaos.targets.kubernetes.lab import plan
from chaos.targets.kubernetes.lab.plan import Layout
from chaos.targets.kubernetes.lab.programs import BUILD, SERVERS, VERSION, Programs

PARTS = Programs(servers=Path("/c/servers"), dns=Path("/c/dns"), runtime=Path("/c/rt"), images=())
LAYOUT = Layout(
    id="cg01",
    folder=Path("/lab"),
    addresses={"control": "10.70.1.10", "node1": "10.70.1.11", "node2": "10.70.1.12"},
    zones={"node1": "a", "node2": ""},
)


def flags(process):
    return dict(word.removeprefix("--").split("=", 1) for word in process.argv[2:])


@pytest.mark.parametrize("count", [0, -1, 51])
def test_a_number_of_nodes_that_can_not_be_is_refused(count):
    with pytest.raises(UsageError, match="1 to 50"):
        plan.names(count)


@given(nodes=st.integers(1, 50), zones=st.lists(st.text("abc", min_size=1), max_size=8, unique=True))
def test_every_zone_has_a_node_and_they_are_shared_evenly(nodes, zones):
    names = plan.names(nodes)
    if len(zones) > nodes:
        with pytest.raises(UsageError, match="each zone needs one"):
            plan.zoned(names, zones)
        return
    dealt = plan.zoned(names, zones)
    assert list(dealt) == list(names)
    counts = [list(dealt.values()).count(zone) for zone in zones]
    assert not counts or (min(counts) >= 1 and max(counts) - min(counts) <= 1)
    assert zones or set(dealt.values()) == {""}


def test_networks_of_pods_services_and_nodes_are_apart():
    pods = [ipaddress.ip_network(LAYOUT.pods(node)) for node in LAYOUT.zones]
    services = ipaddress.ip_network(flags(plan.api_server(LAYOUT, PARTS))["service-cluster-ip-range"])
    lab = list(ipaddress.ip_network("10.0.0.0/8").subnets(new_prefix=10))[1:3]  # 10.64/10 and 10.128/10: the lab's
    assert ipaddress.ip_address(plan.API_IN_CLUSTER) == services.network_address + 1
    for one in (*pods, services):
        assert not any(one.overlaps(other) for other in (*pods, services, *lab) if other is not one)


def test_the_boot_script_routes_to_the_networks_that_nodes_give_their_pods():
    script = (Path(plan.__file__).parent / "node-boot.sh").read_text()
    assert '"10.200.${name#node}.0/24"' in script
    assert [LAYOUT.pods(node) for node in ("node1", "node2")] == ["10.200.1.0/24", "10.200.2.0/24"]


def test_a_node_is_who_the_node_authorizer_wants():
    rows = plan.tokens(["node1"], dict.fromkeys(plan.users(["node1"]), "s3cret")).splitlines()
    assert 's3cret,system:node:node1,node1,"system:nodes"' in rows
    assert 's3cret,system:kube-scheduler,scheduler,""' in rows
    assert len(rows) == len(plan.COMPONENTS) + 1


def test_what_a_server_says_of_its_version_is_the_version_that_is_built():
    required = (BUILD / SERVERS.name / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{VERSION}\n" in required
    assert f"k8s.io/component-base v0.{VERSION.partition('.')[2]}\n" in required
    assert SERVERS.ldflags.count(f"gitVersion=v{VERSION}") == 2


def test_a_zone_is_a_label_and_none_is_no_label():
    assert flags(plan.kubelet(LAYOUT, PARTS, "node1"))["node-labels"] == "topology.kubernetes.io/zone=a"
    assert "node-labels" not in flags(plan.kubelet(LAYOUT, PARTS, "node2"))


def test_permissions_are_real():
    told = flags(plan.api_server(LAYOUT, PARTS))
    assert told["authorization-mode"] == "Node,RBAC"
    assert "NodeRestriction" in told["enable-admission-plugins"].split(",")
    assert told["advertise-address"] == "10.70.1.10"


def test_servers_of_one_machine_have_names_and_logs_of_their_own():
    control = [make(LAYOUT, PARTS) for make in (plan.etcd, plan.api_server, plan.controllers, plan.scheduler, plan.dns)]
    node = [make(LAYOUT, PARTS, "node1") for make in (plan.containerd, plan.kubelet, plan.proxy)]
    assert len({one.name for one in control}) == len(control)
    assert len({one.log for one in (*control, *node)}) == len(control) + len(node)
    assert all(str(PARTS.runtime) in one.env["PATH"] for one in node)


def test_a_kubelet_leaves_the_machine_alone_and_asks_who_calls():
    config = json.loads(plan.kubelet_config(LAYOUT, "node1"))
    assert config["protectKernelDefaults"] is True
    assert config["cgroupRoot"] == "/chaosgate-cg01/node1"
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["clusterDNS"] == ["10.70.1.10"]


def test_a_kubeconfig_is_one_that_clients_read():
    config = yaml.safe_load(plan.kubeconfig("https://127.0.0.1:1", "Y2E=", "s3cret"))
    context = next(one["context"] for one in config["contexts"] if one["name"] == config["current-context"])
    user = next(one["user"] for one in config["users"] if one["name"] == context["user"])
    cluster = next(one["cluster"] for one in config["clusters"] if one["name"] == context["cluster"])
    assert user == {"token": "s3cret"}
    assert cluster == {"server": "https://127.0.0.1:1", "certificate-authority-data": "Y2E="}


def test_the_runtimes_configuration_is_toml_and_names_the_image_that_is_loaded():
    import tomllib

    told = tomllib.loads(plan.containerd_toml(PARTS))
    cri = told["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"].startswith("localhost/")
    assert cri["cni"]["bin_dir"] == "/c/rt/usr/lib/cni"


def test_pods_of_a_node_are_on_its_network():
    bridge = json.loads(plan.cni(LAYOUT, "node2"))["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.200.2.0/24"}]]
