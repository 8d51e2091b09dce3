"""An etcd cluster's settings, and the command line that each member is started with. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.model import Node, Process
from chaos.stacks.etcd.access import Tls, files_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

COMPONENT = "etcd"  # the only key of an experiment's `versions`
ROLES = ("member", "leader", "follower", "client")
HELD_BY = {"leader": "member", "follower": "member"}  # roles that are found → the nodes that can hold them
OPERATIONS = ("restart", "replace")
CLIENT_PORT = 2379
PEER_PORT = 2380
PROCESS = "etcd"  # a member's only process
UNSUPPORTED_ARCH = "ETCD_UNSUPPORTED_ARCH"  # without it etcd does nothing on some machines, not even say its version
_ELECTION_HEARTBEATS = 5  # etcd refuses to start below that (embed/config.go, Validate)
_UNSAFE_NO_FSYNC_SINCE = (3, 5)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LEAST_BCRYPT_COST = 4  # golang.org/x/crypto/bcrypt, MinCost


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """Heartbeat 50 ms and election 500 ms suit a network of one machine: a leader's death costs about half a second.

    Without `fsync` a member that loses power may lose what it acknowledged; killing processes loses nothing,
    because the page cache survives them. `cpu` is in cores a member. Compaction is off: the checks read history.
    `tls: true` lets a lab make its own certificates, files are those of a cluster that is there already.
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
    tls: bool | Tls = False
    user: str = ""
    password_env: str = ""  # name of the environment variable that holds it: a password enters no file of ours

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
        if self.user and not self.password_env:
            raise ValueError("user: a user has a password; name its environment variable, password-env: ETCD_PASSWORD")
        if self.password_env and not self.user:
            raise ValueError("password-env: whose password? add user: root")
        if self.password_env and not _VARIABLE.fullmatch(self.password_env):
            raise ValueError("password-env: the name of an environment variable is wanted, never the password itself")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> EtcdSettings:
        """Read `StackSpec.settings` (field names as keys); TypeError or ValueError saying what is wrong."""
        files = settings.get("tls")
        return cls(**{**settings, "tls": Tls(**files)} if isinstance(files, dict) else settings)


def nodes(settings: Mapping[str, Any]) -> list[Node]:
    """Return the nodes that these settings want: members, then client nodes, without addresses."""
    names = {"member": ("etcd", settings["members"]), "client": ("client", settings["clients"])}
    return [
        Node(name=f"{name}{number + 1}", role=role, address="")
        for role, (name, count) in names.items()
        for number in range(count)
    ]


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
    seen: Iterable[str] = (),
) -> Process:
    """Return the process of member `name`; `addresses` has every member's, `folder` is its own data folder.

    `seen` are the environment variables that it would see. It gets no ETCD_ variable: etcd logs the value of each that
    is none of its options (pkg/flags, verifyEnv), and a password may be among them.
    """
    scheme = "https" if settings.tls else "http"
    client = f"{scheme}://{addresses[name]}:{CLIENT_PORT}"
    peer = f"{scheme}://{addresses[name]}:{PEER_PORT}"
    options = {
        "name": name,
        "data-dir": folder / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": ",".join(f"{n}={scheme}://{a}:{PEER_PORT}" for n, a in addresses.items()),
        "initial-cluster-state": "new",  # ignored once there is data
        "heartbeat-interval": round(settings.heartbeat_s * 1000),
        "election-timeout": round(settings.election_s * 1000),
        "snapshot-count": settings.snapshot_count,
        "quota-backend-bytes": round(settings.quota_bytes),
        "logger": "zap",  # 3.4 would write lines that are no JSON
        "log-outputs": "stderr",  # 3.4's default asks systemd
        **(_certified(folder) if settings.tls else {}),
        # The default, 10, keeps a core busy for a tenth of a second a log-in: load that nobody asked for.
        **({"bcrypt-cost": _LEAST_BCRYPT_COST} if settings.user else {}),
    }
    argv = [str(binary), *(f"--{option}={value}" for option, value in options.items())]
    if not settings.fsync and has_unsafe_no_fsync(version):
        argv.append("--unsafe-no-fsync")
    hidden = [name for name in seen if name.startswith("ETCD_") and name != UNSUPPORTED_ARCH]
    env = dict.fromkeys(filter(None, (settings.password_env, *hidden)), "")
    return Process(name=PROCESS, argv=tuple(argv), env=env, cwd=str(folder), log=str(log))


def _certified(folder: Path) -> dict[str, str]:
    """Return the options that make a member show its certificate, and ask for one, on both of its ports."""
    files = files_of(folder)
    shown = {"cert-file": files.cert, "key-file": files.key, "trusted-ca-file": files.ca, "client-cert-auth": "true"}
    return {**shown, **{f"peer-{option}": value for option, value in shown.items()}}
