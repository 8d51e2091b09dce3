"""An etcd cluster's settings, and the command line that each member is started with. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.model import Process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMPONENT = "etcd"  # the only key of an experiment's `versions`
ROLES = ("member", "leader", "follower", "client")
OPERATIONS = ("restart", "replace")
CLIENT_PORT = 2379
PEER_PORT = 2380
PROCESS = "etcd"  # a member's only process
_ELECTION_HEARTBEATS = 5  # etcd refuses to start below that (embed/config.go, Validate)
_UNSAFE_NO_FSYNC_SINCE = (3, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """Heartbeat 50 ms and election 500 ms suit a network of one machine: a leader's death costs about half a second.

    Without `fsync` a member that loses power may lose what it acknowledged; killing processes loses nothing,
    because the page cache survives them. `cpu` is in cores a member. Compaction is off: the checks read history.
    """

    members: int = 3
    clients: int = 1
    fsync: bool = True
    heartbeat_s: float = 0.05
    election_s: float = 0.5
    cpu: float | None = None
    snapshot_count: int = 10_000
    quota_bytes: int = 4 << 30
    ready_s: float = 30.0

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError("members: a cluster has at least one")
        if self.clients < 1:
            raise ValueError("clients: traffic needs at least one client node")
        if self.heartbeat_s < 0.001:
            raise ValueError("heartbeat: etcd counts it in whole milliseconds, at least 1ms")
        if self.election_s < _ELECTION_HEARTBEATS * self.heartbeat_s:
            raise ValueError(f"election: etcd wants at least {_ELECTION_HEARTBEATS} heartbeats")
        if self.cpu is not None and self.cpu <= 0:
            raise ValueError("cpu: more than no core; leave it out for no limit")


def has_unsafe_no_fsync(version: str) -> bool:
    """Whether a version can leave fsync out; others are started with it whatever was asked."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    return numbers >= _UNSAFE_NO_FSYNC_SINCE


def member_process(
    settings: EtcdSettings,
    *,
    binary: Path,
    version: str,
    name: str,
    addresses: Mapping[str, str],
    folder: Path,
    log: Path,
) -> Process:
    """Return the process of member `name`; `addresses` has every member's, `folder` is its own data folder."""
    client = f"http://{addresses[name]}:{CLIENT_PORT}"
    peer = f"http://{addresses[name]}:{PEER_PORT}"
    options = {
        "name": name,
        "data-dir": folder / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": ",".join(f"{n}=http://{a}:{PEER_PORT}" for n, a in addresses.items()),
        "initial-cluster-state": "new",  # ignored once there is data
        "heartbeat-interval": round(settings.heartbeat_s * 1000),
        "election-timeout": round(settings.election_s * 1000),
        "snapshot-count": settings.snapshot_count,
        "quota-backend-bytes": round(settings.quota_bytes),
        "logger": "zap",  # 3.4 would write lines that are no JSON
        "log-outputs": "stderr",  # 3.4's default asks systemd
    }
    argv = [str(binary), *(f"--{option}={value}" for option, value in options.items())]
    if not settings.fsync and has_unsafe_no_fsync(version):
        argv.append("--unsafe-no-fsync")
    return Process(name=PROCESS, argv=tuple(argv), cwd=str(folder), log=str(log))
