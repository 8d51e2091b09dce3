"""The embedded lab: nodes made of namespaces, all below one init, so that nothing can be left behind.

    controller ─┬─▶ lab init ─┬─ hub: bridge br0, 10.a.b.1, no route out
                │             ├─ etcd1: eth0 10.a.b.10, own processes, mounts, hostname
                │             └─ etcd2: eth0 10.a.b.11 …
                ├─ entered("etcd1"): this thread's sockets belong to etcd1's network
                └─ spawn("", argv): a helper inside, which dies with the lab

When the controller ends, by whatever means, the init ends, and the kernel removes every process, network and mount.
What can outlive it, a folder and cgroups, carries its owner's lock; sweep.py removes it once nobody holds that.
Works for root of the machine and for root of a user namespace (`unshare --user --map-root-user`), which has fewer
capabilities.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chaos.agent.points import effect
from chaos.environment import of_children
from chaos.errors import CapabilityError, TargetError, UsageError
from chaos.model import Node, Process, ProcessState, Topology, to_json
from chaos.targets.netns import cgroups, clocks, disks, enter, wire
from chaos.targets.netns.init import Plan, Plot
from chaos.targets.netns.launch import Init, python
from chaos.targets.netns.sweep import Owned, claim, clear, note_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CAPABILITIES: Mapping[str, str] = {
    "root": "the powers of the machine's own root, not those of a user namespace's",
    "network": "nodes have links of their own, which can be shaped and cut",
    "kill": "processes can be killed, held down, and started again by their recorded command",
    "stop": "processes can be stopped by SIGSTOP",
    "power": "nodes can lose power: link first, then every process; and boot again",
    "freeze": "whole nodes can be frozen, by one of the two below",
    "freeze-cgroup": "by cgroup2's freezer: no process can tell",
    "freeze-signal": "by SIGSTOP to every process: the parents of stopped ones can tell",
    "cpu-limit": "a node's CPU time can be limited",
    "clock": "nodes' processes have a wall clock of their own, which can be wrong",
    "disk": "nodes' files are served by a program of ours, and can be slow, faulty, full or forgetful",
}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,61}")
_FIRST_HOST = 10
_HOSTS = 240
_POLL_S = 0.005
_KILLED_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A node as it is asked for; `cpu_limit` in cores; None: no limit; inf: none before a fault sets one."""

    name: str
    role: str = ""
    zone: str = ""
    cpu_limit: float | None = None
    clock: bool = False  # its processes have a wall clock of their own, which faults can set
    disk: bool = False  # its files are served by a program of ours, which faults can slow down or make fail
    machine: bool = False  # it runs containers: it has a cgroup of its own in every hierarchy
    at_boot: tuple[str, ...] = ()  # a command that furnishes it whenever it gets power; nodeinit.py has its environment


class Lab:
    """A lab that stands; a context manager. Safe to use from several threads."""

    def __init__(
        self,
        owned: Owned,
        groups: cgroups.Groups,
        plan: Plan,
        init: Init,
        topology: Topology,
        environments: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._owned = owned
        self._groups = groups
        self._plots = {plot.name: plot for plot in plan.plots}
        self._init = init
        self._closing = threading.Lock()
        self._closed = False
        self._clocks = environments
        self.id = owned.id
        self.folder = owned.folder
        self.topology = topology
        self.init_pid = init.pid
        self._spaces = {kind: _open(f"/proc/{init.pid}/ns/{kind}") for kind in ("pid", "mnt", "net")}
        self._netns = {name: _open(f"/proc/{init.pid}/fd/{fd}") for name, fd in init.netns.items()}

    @classmethod
    def open(cls, nodes: Sequence[NodeSpec], *, base: Path) -> Lab:
        """Build a lab with these nodes, in a folder of its own below `base`.

        UsageError for bad nodes, CapabilityError for what this machine lacks, TargetError if it did not come up.
        """
        limits = {node.name: node.cpu_limit for node in nodes}
        places = cgroups.parents()
        _check(nodes, places)
        program = str(disks.program()) if any(node.disk for node in nodes) else ""
        library = str(clocks.library()) if any(node.clock for node in nodes) else ""
        owned = effect("lab.folder", lambda: claim(base.absolute()))
        init = None
        try:
            groups = cgroups.Groups.plan(owned.id, limits, places, [node.name for node in nodes if node.machine])
            plan = _plan(owned, nodes, groups, program)
            _furnish(owned.folder, nodes)
            note_groups(owned.folder, groups.tops)
            effect("lab.cgroups", lambda: groups.make(limits))
            init = effect("lab.init", lambda: Init(plan, lock=owned.lock, log=owned.folder / "run" / "init.log"))
            set_up = {node.name: clocks.set_up(library, owned.folder, node.name) for node in nodes if node.clock}
            return cls(owned, groups, plan, init, _topology(plan, nodes, places), set_up)
        except BaseException:  # also Ctrl-C: no half-built lab may stay
            if init is not None:
                init.end()
            _give_up(owned)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the lab and remove what it leaves; TargetError if something would not go. Idempotent."""
        with self._closing:
            if self._closed:
                return
            self._init.end()
            for fd in (*self._spaces.values(), *self._netns.values()):
                os.close(fd)
            self._closed = True
            _give_up(self._owned)

    # ------------------------------------------------------------ where things are

    @property
    def hub_netns(self) -> int:
        """An open descriptor of the hub's network namespace."""
        return self._space("net")

    def node_netns(self, name: str) -> int:
        """Return an open descriptor of a node's network namespace; it is there with and without power."""
        self._plot(name)
        self._space("net")
        return self._netns[name]

    def port(self, name: str) -> str:
        """Return the name of the node's bridge port, in the hub."""
        return self._plot(name).port

    def freezer(self, name: str) -> Path | None:
        """Return the path of the node's cgroup.freeze; None where there is no cgroup2 for us."""
        self._plot(name)
        return self._groups.freezers.get(name)

    def quota(self, name: str) -> Path | None:
        """Return the path of the node's CPU quota; None where it was not asked for, or there is no cgroup for us."""
        self._plot(name)
        return self._groups.quotas.get(name)

    def disk(self, name: str) -> str:
        """Return the control socket of the program that serves the node's files; "" if none of ours does."""
        return wire.disk(self.folder, name)[1] if self._plot(name).disk else ""

    def clock(self, name: str) -> Mapping[str, str]:
        """Return the environment by which the node's processes read a wall clock of its own; empty if they don't."""
        self._plot(name)
        return self._clocks.get(name, {})

    def folder_of(self, node: str) -> Path:
        """Return the node's data folder: the same path here and on the node."""
        self._plot(node)
        return self.folder / "nodes" / node

    def socket_of(self, node: str = "") -> Path:
        """Return the socket of a node's init, or of the lab's; wire.py says what can be asked there."""
        if node:
            self._plot(node)
        return self.folder / "run" / f"{node or 'lab'}.sock"

    def describe(self) -> dict[str, Any]:
        """Return what the lab's init says of its nodes (wire.py: op nodes), with id and capabilities."""
        return {
            "id": self.id,
            "capabilities": sorted(self.topology.capabilities),
            **self.node_call("", {"op": "nodes"}),
        }

    # ------------------------------------------------------------ processes

    def start(self, node: str, process: Process) -> ProcessState:
        """Start it on the node; its command is recorded, and is the undo of a kill. TargetError if it would not."""
        if clock := self._clocks.get(node):
            clocks.refuse_static(process.argv[0])
            process = replace(process, env={**process.env, **clock})
        if process.log:
            Path(process.log).parent.mkdir(parents=True, exist_ok=True)
            Path(process.log).touch()  # a node sees what is there of the machine's /tmp
        return _state(self.node_call(node, {"op": "start", "process": to_json(process)})["process"])

    def stop(self, node: str, name: str, *, grace_s: float) -> ProcessState:
        """End it by SIGTERM, after `grace_s` by SIGKILL; neither a heal nor a boot starts it again."""
        self._end(node, name, "TERM")
        state = self._await_end(node, name, grace_s)
        if state.exit_code is None:
            self._end(node, name, "KILL")
            state = self._await_end(node, name, _KILLED_S)
        if state.exit_code is None:
            raise TargetError(f"{node}: {name}, pid {state.pid}, is still there {_KILLED_S} s after SIGKILL")
        return state

    def processes(self) -> Sequence[ProcessState]:
        """Return every process ever started, by its newest start, with its end if it has one; pids are those here."""
        return tuple(_state(row) for row in self.node_call("", {"op": "ps"})["processes"])

    def _end(self, node: str, name: str, signal_name: str) -> None:
        self.node_call(node, {"op": "signal", "name": name, "signal": signal_name, "lasting": True})

    def _await_end(self, node: str, name: str, timeout_s: float) -> ProcessState:
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.node_call(node, {"op": "ps"})["processes"]
            state = next(_state(row) for row in rows if row["name"] == name)
            if state.exit_code is not None or time.monotonic() > deadline:
                return state
            time.sleep(_POLL_S)

    # ------------------------------------------------------------ ways in

    def node_call(self, node: str, request: Mapping[str, Any], *, timeout_s: float = 15.0) -> dict[str, Any]:
        """Ask a node's init, or with node "" the lab's (wire.py lists the ops); TargetError if it refuses."""
        if not self._init.alive:
            raise TargetError(f"lab {self.id} is gone; its init, pid {self.init_pid}, has ended")
        return wire.call(self.socket_of(node), request, timeout_s)

    @contextlib.contextmanager
    def entered(self, node: str = "") -> Iterator[None]:
        """Hold the calling thread in the node's network ("": the hub's); see enter.entered about the way back."""
        with enter.entered(self.node_netns(node) if node else self.hub_netns):
            yield

    def spawn(self, node: str, argv: Sequence[str], **popen: Any) -> subprocess.Popen[bytes]:
        """Start a helper in the node's network ("": the hub's) and the lab's PID and mount namespaces.

        It dies with the lab, with the returned process, and with the controller; it has no part in the node's power,
        freezer or CPU limit. Takes what subprocess.Popen takes, but preexec_fn and shell.
        """
        spaces = (self._space("pid"), self._space("mnt"), self.node_netns(node) if node else self.hub_netns)
        way = python("chaos.targets.netns.enter", "main(sys.argv[2:])", *map(str, spaces))
        popen["pass_fds"] = (*popen.get("pass_fds", ()), *spaces)
        popen.setdefault("start_new_session", True)  # a Ctrl-C is the controller's to answer
        popen.setdefault("env", of_children())
        return subprocess.Popen([*way, *argv], **popen)

    def _space(self, kind: str) -> int:
        if self._closed:
            raise TargetError(f"lab {self.id} is closed")
        return self._spaces[kind]

    def _plot(self, name: str) -> Plot:
        try:
            return self._plots[name]
        except KeyError:
            raise TargetError(f"no node {name!r} in the lab; there are: {', '.join(self._plots)}") from None


# ---------------------------------------------------------------- deciding


def _check(nodes: Sequence[NodeSpec], places: cgroups.Parents) -> None:
    names = [node.name for node in nodes]
    for name in names:
        if not _NAME.fullmatch(name) or name in {"lab", "hosts", "localhost"}:
            raise UsageError(f"no node can be called {name!r}; a hostname such as 'etcd1' would do")
    if len(set(names)) < len(names):
        raise UsageError(f"two nodes share a name: {', '.join(names)}")
    if len(names) > _HOSTS:
        raise UsageError(f"{len(names)} nodes; a lab holds {_HOSTS}")
    limited = [node for node in nodes if node.cpu_limit is not None]
    if limited and not places.limits_cpu:
        raise CapabilityError(
            f"cpu-limit: {limited[0].name} asks for {limited[0].cpu_limit} cores, and no cgroup cpu controller is ours"
            " to use; run as root, or leave it out"
        )
    for node in limited:
        if node.cpu_limit is not None and node.cpu_limit < 0.01:  # the kernel's least quota is 1 ms of 100
            raise UsageError(f"{node.name}: a CPU limit of {node.cpu_limit} cores; 0.01 is the least")
    if os.geteuid() != 0:
        raise CapabilityError("a lab needs root, of the machine or of a user namespace: unshare --user --map-root-user")


def _plan(owned: Owned, nodes: Sequence[NodeSpec], groups: cgroups.Groups, program: str) -> Plan:
    """Decide the addresses: a network of 10/8 that means nothing outside; two labs could even share one."""
    net = f"10.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}"
    plots = (
        Plot(
            name=node.name,
            address=f"{net}.{_FIRST_HOST + i}",
            port=_port(node.name, i),
            groups=tuple(str(folder) for folder in groups.joined[node.name]),
            freezer=str(groups.freezers[node.name]) if node.name in groups.freezers else None,
            disk=program if node.disk else "",
            at_boot=node.at_boot,
        )
        for i, node in enumerate(nodes)
    )
    return Plan(id=owned.id, folder=str(owned.folder), hub_address=f"{net}.1", plots=tuple(plots))


def _port(node: str, i: int) -> str:
    """Name a bridge port after its node where an interface name (15 bytes) has room for it."""
    name = f"to-{node}"
    return name if len(name) <= 15 else f"port{i}"


def _topology(plan: Plan, nodes: Sequence[NodeSpec], places: cgroups.Parents) -> Topology:
    found = {"network", "kill", "stop", "power", "freeze", "freeze-signal"}
    found |= {"freeze-cgroup"} if places.freeze else set()
    found |= {"cpu-limit"} if places.limits_cpu else set()
    found |= {"clock"} if any(node.clock for node in nodes) else set()
    found |= {"disk"} if any(node.disk for node in nodes) else set()
    found |= {"root"} if _is_machine_root(Path("/proc/self/uid_map").read_text(encoding="ascii")) else set()
    return Topology(
        nodes=tuple(
            Node(name=node.name, role=node.role, address=plot.address, zone=node.zone)
            for node, plot in zip(nodes, plan.plots, strict=True)
        ),
        capabilities=frozenset(found),
    )


def _is_machine_root(uid_map: str) -> bool:
    """Whether user_namespaces(7) says that ours is the initial one: every uid is itself."""
    return uid_map.split() == ["0", "0", "4294967295"]


def _state(row: Mapping[str, Any]) -> ProcessState:
    return ProcessState(
        node=row["node"],
        name=row["name"],
        pid=row["pid_host"],
        started_ns=row["started_ns"],
        starts=row["starts"],
        exit_code=row["exit_code"],
        ended_ns=row["ended_ns"],
        killed=row["killed"],
    )


# ---------------------------------------------------------------- acting


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _furnish(folder: Path, nodes: Sequence[NodeSpec]) -> None:
    (folder / "run").mkdir()
    for node in nodes:
        (folder / "nodes" / node.name).mkdir(parents=True)


def _give_up(owned: Owned) -> None:
    try:
        effect("lab.sweep", lambda: clear(owned.folder))
    except OSError as error:
        raise TargetError(f"lab {owned.id} left something behind: {error}") from error
    finally:
        os.close(owned.lock)
