"""A machine's pods as its kernel shows them: no runtime's protocol, so any runtime will do.

    uid ─▶ cgroups named after it ─▶ processes ─▶ network namespace ─▶ its other end among the machine's links

The kubelet names a pod's cgroups after its uid (…/pod<uid>, …-pod<uid with _>.slice), whichever driver and runtime;
a container is what has a PID 1 of its own there. Whoever pauses for the pod's namespaces is none of its processes.

A container that was killed is started again by the kubelet, not by us; `last` in a row is the end of the one before.
"""

from __future__ import annotations

import itertools
import os
import re
import select
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CGROUPS = Path(os.environ.get("CHAOSGATE_CGROUPS", "/sys/fs/cgroup"))  # the machine's own, in a container mounted there
PAUSE = "pause"
DEPTH = 7  # of folders in which pods are looked for; systemd's way of naming takes the most
ROUNDS = 50  # in which a pod may fork what was not there before
END_S = 5.0  # SIGKILL ends a process in milliseconds
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Main:
    """The first process of a container."""

    pid: int  # here
    name: str  # comm
    container: str  # its id, as its cgroup is named after it
    start_ticks: int  # since boot, which no other process of this pid shares (proc(5))

    @property
    def started_ns(self) -> int:
        """When it was started, CLOCK_MONOTONIC; to a tick."""
        slept_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        return self.start_ticks * TICK_NS - slept_ns


@dataclass(slots=True)
class Pods:
    """The pods of this machine by name, and how those ended that we killed.

    Two containers may run programs of one name: they are name and name#2, and who lives keeps its name.
    """

    uids: dict[str, str] = field(default_factory=dict)
    last: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # (uid, process) → its row at its end
    named: dict[tuple[str, str], str] = field(default_factory=dict)  # (uid, container) → process
    lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, node: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a lab's node init does of the same op (targets/netns/wire.py); AgentError if it can't be done."""
        if request["op"] == "ps":
            return {"processes": self.rows(node)}
        if request["op"] == "signal":
            return self._signal(node, str(request["name"]), str(request["signal"]))
        if request["op"] in ("stop_all", "cont_all"):
            return self._signal(node, "", "STOP" if request["op"] == "stop_all" else "CONT")
        if request["op"] == "revive":
            return {"revived": []}  # the kubelet does it
        raise AgentError(f"{node}: {request['op']}: not for a pod")

    def rows(self, node: str) -> list[dict[str, Any]]:
        """Return the first process of each of a pod's containers, and those that ended by us and are not back."""
        uid = self.uids[node]
        running = {main.name: self._row(node, main) for main in self.mains_of(uid, members(uid))}
        with self.lock:
            ended = {name: row for (pod, name), row in self.last.items() if pod == uid}
        return [{**row, "last": ended.get(name)} for name, row in running.items()] + [
            {**row, "last": None} for name, row in ended.items() if name not in running
        ]

    def mains_of(self, uid: str, pids: Sequence[int]) -> list[Main]:
        """Return the first processes of a pod's containers, by names that each keeps as long as it lives."""
        found = mains(pids)
        with self.lock:
            living = {(uid, main.container) for main in found}
            self.named = {key: name for key, name in self.named.items() if key[0] != uid or key in living}
            for main in found:
                self.named.setdefault((uid, main.container), self._free(uid, main.name))
            return [replace(main, name=self.named[uid, main.container]) for main in found]

    def _free(self, uid: str, comm: str) -> str:
        taken = {name for (pod, _), name in self.named.items() if pod == uid}
        numbered = (f"{comm}#{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain([comm], numbered) if name not in taken)

    def _row(self, node: str, main: Main) -> dict[str, Any]:
        return {
            "node": node,
            "name": main.name,
            "pid": main.pid,
            "pid_lab": main.pid,
            "pid_host": main.pid,
            "started_ns": main.started_ns,
            "starts": main.start_ticks,
            "exit_code": None,
            "ended_ns": None,
            "stopped": state(main.pid) == "T",
            "killed": False,
        }

    def _signal(self, node: str, name: str, number: str) -> dict[str, Any]:
        uid = self.uids[node]
        chosen = [main for main in self.mains_of(uid, members(uid)) if not name or main.name == name]
        if number == "KILL":
            return {"signalled": [main.name for main in chosen if self._kill(node, main)]}
        chosen_pids = {main.pid for main in chosen}
        self._signal_all(node, signal.Signals[f"SIG{number}"], chosen_pids if name else None)
        return {"signalled": [main.name for main in chosen]}

    def _signal_all(self, node: str, number: signal.Signals, mains_hit: set[int] | None) -> None:
        """Signal every process of a pod (of the containers of some), those too that are forked meanwhile."""
        done: set[tuple[int, int]] = set()
        for _ in range(ROUNDS):
            everybody = members(self.uids[node])
            hit = everybody if mains_hit is None else [one for pid in mains_hit for one in below(pid, everybody)]
            new = {(pid, start_ticks(pid)) for pid in hit} - done
            if not new:
                return
            for pid, ticks in new:
                send(pid, ticks, number)
            done |= new

    def _kill(self, node: str, main: Main) -> bool:
        """Kill one and see its end: by its descriptor, so that no other process can be met or taken for it."""
        row = self._row(node, main)
        try:
            descriptor = os.pidfd_open(main.pid)
        except ProcessLookupError:
            return False
        try:
            if start_ticks(main.pid) != main.start_ticks:  # another one by now
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            gone, _, _ = select.select([descriptor], [], [], END_S)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        if not gone:
            raise AgentError(f"{node}: {main.name} (pid {main.pid}) has not ended {END_S:.0f} s after SIGKILL")
        with self.lock:
            self.last[self.uids[node], main.name] = {
                **row,
                "exit_code": -signal.SIGKILL,
                "ended_ns": time.monotonic_ns(),
                "killed": True,
            }
        return True


# ---------------------------------------------------------------- what the kernel shows


def members(uid: str) -> list[int]:
    """Return the pids of a pod's processes, but for the one that pauses; empty if there is no such pod here."""
    return [pid for pid in _all(uid) if comm(pid) not in ("", PAUSE)]


def _all(uid: str) -> list[int]:
    for folder in folders(uid):
        found: set[int] = set()
        for procs in folder.rglob("cgroup.procs"):
            try:
                found.update(int(line) for line in procs.read_text(encoding="ascii").split())
            except (OSError, ValueError):  # a container that ends takes its cgroup with it
                continue
        if found := {pid for pid in found if pid > 0}:
            return sorted(found)  # the other hierarchies say the same
    return []


def folders(uid: str, root: Path | None = None) -> list[Path]:
    """Return a pod's cgroups, one in each hierarchy."""
    names = (f"pod{uid}", f"pod{uid.replace('-', '_')}.slice")
    root = root or CGROUPS
    if not root.is_dir():  # nothing would be found there, and that must not pass for a pod that is gone
        raise AgentError(f"{root}: no cgroups are there; is the machine's /sys/fs/cgroup mounted?")
    return sorted(_named(root, names, DEPTH))


def _named(folder: Path, names: tuple[str, ...], depth: int) -> Iterator[Path]:
    try:
        inner = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:  # it went while we looked
        return
    for entry in inner:
        if entry.name.endswith(names):
            yield Path(entry.path)
        elif depth > 1:
            yield from _named(Path(entry.path), names, depth - 1)


def anyone(uid: str) -> int:
    """Return a process that is in the pod's network: the one that pauses, where one does; 0 if there is none."""
    found = _all(uid)
    return next((pid for pid in found if comm(pid) == PAUSE), found[0] if found else 0)


def mains(pids: Sequence[int]) -> list[Main]:
    """Return those that are PID 1 of a PID namespace below ours; or, where a pod shares one, whose parents are not."""
    firsts = [pid for pid in pids if (ids := namespace_pids(pid)) and len(ids) > 1 and ids[-1] == 1]
    chosen = firsts or [pid for pid in pids if parent(pid) not in pids]
    found: list[Main] = []
    for pid in chosen:
        name, ticks = comm(pid), start_ticks(pid)
        if not name or not ticks:
            continue
        found.append(Main(pid=pid, name=name, container=container(pid) or f"{pid}/{ticks}", start_ticks=ticks))
    return found


def container(pid: int) -> str:
    """Return the id of a process's container, as every runtime writes it into the names of cgroups; "" for none."""
    try:
        found = re.findall(r"[0-9a-f]{64}", Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii", errors="replace"))
    except OSError:
        return ""
    return found[-1] if found else ""


def below(pid: int, pids: Sequence[int]) -> list[int]:
    """Return a process and those of `pids` that share its innermost PID namespace."""
    try:
        own = Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return []
    return [one for one in pids if _namespace(one) == own]


def _namespace(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return None


def send(pid: int, ticks: int, number: signal.Signals) -> None:
    """Send a signal to the process that was started then; content if it is gone, whoever has its pid by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_ticks(pid) == ticks:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def comm(pid: int) -> str:
    """Return a process's short name; "" if it is gone."""
    return (_status(pid).get("Name") or "").strip()


def state(pid: int) -> str:
    """Return its state (proc(5)); "" if it is gone."""
    return (_status(pid).get("State") or "").strip()[:1]


def parent(pid: int) -> int:
    """Return its parent; 0 if it is gone or has none here."""
    return int(_status(pid).get("PPid") or 0)


def namespace_pids(pid: int) -> list[int]:
    """Return its pid in each PID namespace, ours first; empty if it is gone."""
    return [int(one) for one in (_status(pid).get("NSpid") or "").split()]


def start_ticks(pid: int) -> int:
    """Return when it was started, in clock ticks since boot; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def _status(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value for name, _, value in pairs}


# ---------------------------------------------------------------- a pod as a place


def place(name: str, address: str, uid: str, host_netns: int) -> dict[str, Any]:
    """Return what ground.Place takes for a pod of this machine; AgentError if it is not here or has no own network."""
    pid = anyone(uid)
    if not pid:
        raise AgentError(f"{name}: no process of pod {uid} on this machine")
    try:
        netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AgentError(f"{name}: the network of pod {uid} can't be opened: {error}") from error
    if pid not in _all(uid):
        os.close(netns)
        raise AgentError(f"{name}: pod {uid} changes at this moment; try again")
    if os.path.samestat(os.fstat(netns), os.fstat(host_netns)):
        os.close(netns)
        raise AgentError(f"{name}: it has the machine's own network (hostNetwork): a fault would hit the whole machine")
    return {
        "name": name,
        "address": address,
        "socket": "",
        "netns": netns,
        "port": other_end(netns, host_netns),
        "freezer": _file(uid, "cgroup.freeze"),
        "quota": _file(uid, "cpu.max") or _file(uid, "cpu.cfs_quota_us"),
    }


def other_end(netns: int, host_netns: int) -> str:
    """Return the name of the machine's link that a pod's eth0 is the other end of; "" if it is no end of a veth.

    A macvlan's or ipvlan's eth0 names a link of the machine too: the one that all the machine's packets take.
    """
    from chaos.agent.ground import inside  # noqa: PLC0415 - which reads this file

    inner = next((link for link in kernel_links(netns, inside) if link.get("ifname") == "eth0"), {})
    for link in kernel_links(host_netns, inside):
        pair = link.get("ifindex") == inner.get("link_index") and link.get("link_index") == inner.get("ifindex")
        if pair and link.get("linkinfo", {}).get("info_kind") == "veth":
            return str(link["ifname"])
    return ""


def kernel_links(netns: int, inside: Any) -> list[dict[str, Any]]:
    """Return what `ip -j -d link` says in a namespace."""
    from chaos.agent.kernel import ask  # noqa: PLC0415

    with inside(netns):
        found: list[dict[str, Any]] = ask(("ip", "-j", "-d", "link"))
    return found


def _file(uid: str, name: str) -> str:
    return next((str(folder / name) for folder in folders(uid) if (folder / name).exists()), "")
