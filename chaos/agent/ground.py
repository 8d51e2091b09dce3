"""What the agent stands on: the nodes of a lab, or the pods of a machine, as seen from beside them.

      hub (agent lives here), or the machine's own network
      ├── port of etcd1 ── eth0  etcd1's network namespace (held open: it outlives a power cut)
      └── port of etcd2 ── eth0  …

Actions get a Ground and touch the world only through it and through `effect`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.agent.pods import Pods, folders
from chaos.agent.shaper import Port, Rule, Shaper, open_shaper
from chaos.errors import AgentError, TargetError
from chaos.targets.netns.wire import call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8913, 0x8914, 0x1, 0x40  # linux/sockios.h, netdevice(7)
CALL_S = 10.0

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One node: where its init listens, its network namespace, its bridge port in the hub, its cgroup's files.

    A pod has no init of ours, but a uid in `pod`; one on another machine has only a name and an address here.
    """

    name: str
    address: str
    socket: str = ""
    netns: int = -1  # an open descriptor; -1: elsewhere
    port: str = ""
    pod: str = ""
    freezer: str = ""  # path of cgroup.freeze; "": none here
    quota: str = ""  # path of cpu.max or cpu.cfs_quota_us; "": its CPU time can't be limited
    folder: str = ""  # the node's files, as the node and we see them
    disk: str = ""  # control socket of what serves them; "": the machine's own file system does
    clock: Mapping[str, str] = field(default_factory=dict)  # environment by which its processes read its own wall clock


@dataclass(slots=True, kw_only=True)
class Ground:
    """The nodes, the lab's own socket, and the shaper (opened when first needed, anew if it died)."""

    lab_socket: str
    hub_netns: int
    places: Mapping[str, Place]
    shaper_backend: str | None = None
    shaping: dict[str, list[tuple[str, Rule]]] = field(default_factory=dict)  # node → (action's name, rule)
    lock: threading.RLock = field(default_factory=threading.RLock)
    opened: Shaper | None = None
    pods: Pods = field(default_factory=Pods)

    def place(self, node: str) -> Place:
        """Return the node; AgentError if it is unknown."""
        if node not in self.places:
            raise AgentError(f"no node {node!r} here; known: {', '.join(sorted(self.places))}")
        return self.places[node]

    def addresses(self, nodes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the IPv4 addresses of nodes by name."""
        return tuple(self.place(node).address for node in nodes)

    def node_call(self, node: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a node's init, or do what it would on a pod; AgentError if that is refused, or nobody is there."""
        place = self.place(node)
        if place.pod:
            return self.pods.call(node, request)
        if not place.socket:
            raise AgentError(f"{node} is on another machine")
        return _checked(place.socket, request)

    def is_gone(self, node: str) -> bool:
        """Whether a node is a pod that is no longer on this machine."""
        place = self.places.get(node)
        return place is not None and bool(place.pod) and not folders(place.pod)

    @property
    def here(self) -> Mapping[str, Place]:
        """The places of this machine."""
        return {name: place for name, place in self.places.items() if place.netns >= 0}

    def settle(self, places: Mapping[str, Place]) -> None:
        """Stand on other places from now on; AgentError while something is in force on the old ones."""
        with self.lock:
            if busy := sorted(name for name, held in self.shaping.items() if held):
                raise AgentError(f"places can't change while rules are in force on {', '.join(busy)}; heal them first")
            self.close()
            for place in self.here.values():
                os.close(place.netns)
            self.places = places
            self.pods.uids = {name: place.pod for name, place in places.items() if place.pod}

    def lab_call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the lab's init; AgentError if it refuses or is gone."""
        return _checked(self.lab_socket, request)

    def shaper(self) -> Shaper:
        """Return the shaper in service; one that has died is replaced, without the rules that died with it."""
        with self.lock:
            living = self.living_shaper()
            if living is None:
                living = self.opened = open_shaper(self._ports(), self.shaper_backend)
            return living

    def living_shaper(self) -> Shaper | None:
        """Return the shaper in service; of one that has died, what is left is taken away, and there is none."""
        with self.lock:
            if self.opened is not None and not self.opened.state().get("alive", False):
                self.close()
                self.shaping.clear()
            return self.opened

    def close(self) -> None:
        """Take the shaper off; idempotent."""
        with self.lock:
            if self.opened is not None:
                self.opened.close()
                self.opened = None

    def _ports(self) -> list[Port]:
        return [
            Port(
                node=p.name,
                address=p.address,
                hub_netns=self.hub_netns,
                hub_ifname=p.port,
                node_netns=p.netns,
                node_ifname="eth0",
            )
            for p in self.here.values()
            if p.port
        ]


def _checked(path: str, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return call(path, request, CALL_S)
    except TargetError as error:
        raise AgentError(str(error)) from error


@contextmanager
def inside(netns: int) -> Iterator[None]:
    """Let the calling thread's new sockets belong to another network namespace (setns(2))."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(netns)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(netns: int) -> None:
    if _libc.setns(netns, CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def link_is_up(ifname: str) -> bool:
    """Tell whether a link of the calling thread's namespace is up; OSError if there is none."""
    return bool(_flags(ifname) & IFF_UP)


def set_link(ifname: str, *, up: bool) -> None:
    """Set a link of the calling thread's namespace up or down; OSError if there is none."""
    flags = _flags(ifname)
    wanted = flags | IFF_UP if up else flags & ~IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", ifname.encode(), wanted))


def has_carrier(netns: int, ifname: str) -> bool:
    """Tell whether a link inside `netns` is running, i.e. has a carrier."""
    with inside(netns):
        return bool(_flags(ifname) & IFF_RUNNING)


def _flags(ifname: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH14x", ifname.encode(), 0))
    return int(struct.unpack_from("H", answer, 16)[0])
