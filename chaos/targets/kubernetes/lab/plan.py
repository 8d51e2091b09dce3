"""Who is where in a cluster of our own, and every command line. Pure.

    hub ─┬─ control   etcd, API server, controllers, scheduler, DNS
         ├─ node1     containerd, kubelet, kube-proxy     pods 10.200.1.0/24
         └─ node2     …                                   pods 10.200.2.0/24     services 10.250.0.0/16

Addresses of nodes are the netns lab's to give, from 10.64/10 on; those of pods and services lie outside of these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import UsageError
from chaos.model import Process
from chaos.targets.kubernetes.lab.programs import PAUSE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from chaos.targets.kubernetes.lab.programs import Programs

CONTROL = "control"
API_PORT = 6443
API_IN_CLUSTER = "10.250.0.1"  # the first of the services', always the API server's
DOMAIN = "cluster.local"
MOST_NODES = 50
_PODS, _SERVICES = "10.200.{}.0/24", "10.250.0.0/16"
_ALL_PODS = "10.200.0.0/16"
_ETCD = "http://127.0.0.1:2379"
ZONE = "topology.kubernetes.io/zone"
_WITHOUT = (  # plugins of the runtime that nobody here needs, and that complain
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
)
COMPONENTS = {  # component → the user that it is to the API server, and the group
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "dns": ("system:masters-dns", "system:masters"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A cluster's places: its folder in the lab, the address of every machine by name, the zone of every node."""

    id: str
    folder: Path
    addresses: Mapping[str, str]
    zones: Mapping[str, str]

    @property
    def api(self) -> str:
        """Return the API server's URL, for who is inside."""
        return f"https://{self.addresses[CONTROL]}:{API_PORT}"

    @property
    def pki(self) -> Path:
        """Return the folder of certificates, keys, tokens and kubeconfigs."""
        return self.folder / "pki"

    def kubeconfig(self, component: str) -> Path:
        """Return the path of a component's, or a node's, way to the API server."""
        return self.pki / f"{component}.kubeconfig"

    def log(self, machine: str, server: str) -> Path:
        """Return the path of a server's log."""
        return self.folder / "logs" / f"{machine}-{server}.log"

    def home(self, machine: str) -> Path:
        """Return the folder that holds a machine's own files."""
        return self.folder / "nodes" / machine

    def pods(self, node: str) -> str:
        """Return the network of a node's pods."""
        return _PODS.format(list(self.zones).index(node) + 1)


def names(nodes: int) -> tuple[str, ...]:
    """Return the names of so many nodes; UsageError if there can't be so many."""
    if not 1 <= nodes <= MOST_NODES:
        raise UsageError(f"{nodes} nodes; a lab holds 1 to {MOST_NODES}")
    return tuple(f"node{i + 1}" for i in range(nodes))


def zoned(nodes: Sequence[str], zones: Sequence[str]) -> dict[str, str]:
    """Deal zones out to nodes, round and round; UsageError if a zone would have no node."""
    if len(zones) > len(nodes):
        raise UsageError(f"{len(zones)} zones for {len(nodes)} nodes; each zone needs one")
    return {node: zones[i % len(zones)] if zones else "" for i, node in enumerate(nodes)}


# ---------------------------------------------------------------- servers


def etcd(layout: Layout, programs: Programs) -> Process:
    """Return the store below the API server. Its disk may be slow, and a process's death keeps the page cache."""
    flags = {
        "data-dir": layout.home(CONTROL) / "etcd",
        "unsafe-no-fsync": "true",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": "http://127.0.0.1:2380",
        "log-level": "warn",
    }
    return _server(layout, programs, CONTROL, "etcd", flags)


def api_server(layout: Layout, programs: Programs) -> Process:
    """Return the API server, with the permissions of a real one."""
    pki = layout.pki
    flags = {
        "etcd-servers": _ETCD,
        "bind-address": "0.0.0.0",  # noqa: S104 - of the lab's own network, which has no way out
        "advertise-address": layout.addresses[CONTROL],
        "secure-port": API_PORT,
        "tls-cert-file": pki / "api.crt",
        "tls-private-key-file": pki / "api.key",
        "client-ca-file": pki / "ca.crt",
        "token-auth-file": pki / "tokens.csv",
        "kubelet-client-certificate": pki / "kubelet-client.crt",
        "kubelet-client-key": pki / "kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",  # names of nodes are in nobody's DNS
        "service-account-issuer": f"https://kubernetes.default.svc.{DOMAIN}",
        "service-account-key-file": pki / "accounts.key",
        "service-account-signing-key-file": pki / "accounts.key",
        "service-cluster-ip-range": _SERVICES,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "default-not-ready-toleration-seconds": 3,  # else 300 s pass before a lost node's pods go
        "default-unreachable-toleration-seconds": 3,
        "shutdown-delay-duration": "0s",
    }
    return _server(layout, programs, CONTROL, "kube-apiserver", flags)


def controllers(layout: Layout, programs: Programs) -> Process:
    """Return the controllers: as shipped, but sooner sure that a node is gone, and not held back by a rate limit."""
    flags = {
        "kubeconfig": layout.kubeconfig("controllers"),
        "leader-elect": "false",
        "service-account-private-key-file": layout.pki / "accounts.key",
        "root-ca-file": layout.pki / "ca.crt",
        "use-service-account-credentials": "true",
        "kube-api-qps": 400,
        "kube-api-burst": 800,
        "node-monitor-period": "1s",
        "node-monitor-grace-period": "6s",
        "attach-detach-reconcile-sync-period": "5s",
        "pvclaimbinder-sync-period": "2s",
    }
    return _server(layout, programs, CONTROL, "kube-controller-manager", flags)


def scheduler(layout: Layout, programs: Programs) -> Process:
    """Return the scheduler."""
    config = layout.kubeconfig("scheduler")
    flags = {"kubeconfig": config, "leader-elect": "false", "kube-api-qps": 400, "kube-api-burst": 800}
    return _server(layout, programs, CONTROL, "kube-scheduler", flags)


def dns(layout: Layout, programs: Programs) -> Process:
    """Return the server of the cluster's names."""
    return Process(
        name="dns",
        argv=(str(programs.dns), "-conf", str(layout.pki / "Corefile")),
        log=str(layout.log(CONTROL, "dns")),
    )


def containerd(layout: Layout, programs: Programs, node: str) -> Process:
    """Return a node's container runtime."""
    return Process(
        name="containerd",
        argv=(str(programs.runtime / "usr/bin/containerd"), "-c", str(layout.pki / "containerd.toml")),
        env={"PATH": programs.path},
        log=str(layout.log(node, "containerd")),
    )


def kubelet(layout: Layout, programs: Programs, node: str) -> Process:
    """Return a node's kubelet."""
    zone = layout.zones[node]
    flags = {
        "config": layout.home(node) / "kubelet.json",
        "kubeconfig": layout.kubeconfig(node),
        "hostname-override": node,
        "node-ip": layout.addresses[node],
        **({"node-labels": f"{ZONE}={zone}"} if zone else {}),
    }
    return _server(layout, programs, node, "kubelet", flags)


def proxy(layout: Layout, programs: Programs, node: str) -> Process:
    """Return what turns services' addresses into pods' on a node. It leaves the machine's own settings alone."""
    flags = {
        "proxy-mode": "nftables",
        "kubeconfig": layout.kubeconfig("proxy"),
        "hostname-override": node,
        "cluster-cidr": _ALL_PODS,
        "conntrack-max-per-core": 0,
        "conntrack-tcp-timeout-established": 0,
        "conntrack-tcp-timeout-close-wait": 0,
    }
    return _server(layout, programs, node, "kube-proxy", flags)


def image(layout: Layout, programs: Programs, node: str, archive: Path) -> Process:
    """Return what gives a node's runtime an image, and ends."""
    ctr = str(programs.runtime / "usr/bin/ctr")
    return Process(
        name=f"image-{archive.stem}",
        argv=(ctr, "--namespace", "k8s.io", "images", "import", "--snapshotter", "overlayfs", str(archive)),
        env={"PATH": programs.path},
        log=str(layout.log(node, "images")),
    )


def _server(layout: Layout, programs: Programs, machine: str, name: str, flags: Mapping[str, object]) -> Process:
    return Process(
        name=name,
        argv=(str(programs.servers), name, *(f"--{flag}={value}" for flag, value in flags.items())),
        env={"PATH": programs.path},
        log=str(layout.log(machine, name)),
    )


# ---------------------------------------------------------------- files


def kubeconfig(server: str, ca: str, token: str) -> str:
    """Return the text of a kubeconfig; `ca` is base64."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "chaosgate-lab",
        "clusters": [{"name": "chaosgate-lab", "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [{"name": "chaosgate-lab", "context": {"cluster": "chaosgate-lab", "user": "lab"}}],
    }
    return json.dumps(config, indent=1) + "\n"


def users(nodes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return component or node → its user and group: the Node authorizer and NodeRestriction go by these."""
    return COMPONENTS | {node: (f"system:node:{node}", "system:nodes") for node in nodes}


def tokens(nodes: Sequence[str], secrets: Mapping[str, str]) -> str:
    """Return the API server's file of tokens; `secrets` are those of the components and nodes."""
    rows = (f'{secrets[component]},{user},{component},"{group}"' for component, (user, group) in users(nodes).items())
    return "".join(f"{row}\n" for row in rows)


def corefile(layout: Layout) -> str:
    """Return CoreDNS's configuration."""
    return (
        f".:53 {{\n  bind {layout.addresses[CONTROL]}\n  errors\n  ready 127.0.0.1:8181\n  cache 5\n"
        f"  kubernetes {DOMAIN} in-addr.arpa {{\n    kubeconfig {layout.kubeconfig('dns')}\n  }}\n}}\n"
    )


def containerd_toml(programs: Programs) -> str:
    """Return the runtime's configuration, the same on all nodes: each has a /run and a /var/lib of its own."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [{", ".join(map(repr, _WITHOUT))}]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true  # lowering it takes CAP_SYS_RESOURCE, which a container of ours may lack
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs.cni}"
    conf_dir = "/run/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def cni(layout: Layout, node: str) -> str:
    """Return how a node's pods are plugged in: a bridge, and addresses of the node's own network."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": layout.pods(node)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni/addresses",  # of this boot: a pod that died with its node holds none
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge, ports]}, indent=1)


def kubelet_config(layout: Layout, node: str) -> str:
    """Return a kubelet's configuration: it never writes the machine's settings, and is soon missed when it is gone."""
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(layout.pki / "ca.crt")}, "anonymous": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/chaosgate-{layout.id}/{node}",
        "clusterDNS": [layout.addresses[CONTROL]],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "resolvConf": str(layout.home(node) / "resolv.conf"),
        "failSwapOn": False,
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        "protectKernelDefaults": True,  # node-boot.sh shows it files with the values that it wants
        "nodeLeaseDurationSeconds": 4,  # renewed each second
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "10s",
        "syncFrequency": "10s",
        "volumeStatsAggPeriod": "30s",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": dict.fromkeys(("nodefs.available", "imagefs.available", "nodefs.inodesFree"), "0%")
        | {"memory.available": "50Mi"},
        "enforceNodeAllocatable": [],
        "maxPods": 60,
        "shutdownGracePeriod": "0s",
        "readOnlyPort": 0,
        "logging": {"verbosity": 1},
    }
    return json.dumps(config, indent=1)
