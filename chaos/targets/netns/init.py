"""PID 1 of a lab: holds its namespaces, and gives nodes power or takes it.

    controller ──starts──▶ shell ──forks──▶ lab init (PID 1) ──forks──▶ node inits
        │                  PDEATHSIG        PDEATHSIG  hub: bridge br0, no route out
        └────── a pipe whose end means: go ───┘          └─ veth ─▶ eth0 of a node

Whatever ends the controller ends this process, and the kernel then removes every process, namespace, link and mount
of the lab. It is started without site packages: standard library, and `ip` for the links.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chaos.errors import TargetError
from chaos.targets.netns import syscalls, wire
from chaos.targets.netns.loop import Loop, ended_children, rows_stopped
from chaos.targets.netns.network import hub_lines, ip, new_netns, node_lines, port_lines
from chaos.targets.netns.nodeinit import NodeInit, Run, Seat, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOOT_S = 10.0
_DEATH_S = 10.0  # a node's processes are gone in milliseconds, unless the kernel holds one


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One node as the lab's init is told of it."""

    name: str
    address: str
    port: str  # its bridge port, in the hub
    groups: tuple[str, ...] = ()
    freezer: str | None = None
    disk: str = ""  # path of the program that serves its files; "": none
    at_boot: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole lab as its init is told of it."""

    id: str
    folder: str
    hub_address: str
    plots: tuple[Plot, ...]

    @classmethod
    def parse(cls, line: str) -> Plan:
        """Read what `json.dumps(dataclasses.asdict(plan))` wrote."""
        told = json.loads(line)
        lists = ("groups", "at_boot")
        plots = [Plot(**plot | {name: tuple(plot[name]) for name in lists}) for plot in told.pop("plots")]
        return cls(**told, plots=tuple(plots))


def main(controller: int) -> NoReturn:
    """Run with the plan on stdin, which stays open; tells of its steps on stdout, one JSON line each.

    `controller` is the pid of who started this process, and whose end is the lab's.
    """
    syscalls.die_with_parent()
    line = sys.stdin.readline()
    if os.getppid() != controller or not line:
        sys.exit("the controller is gone")
    try:
        new = ("NEWPID", "NEWNET", "NEWNS", "NEWUTS", "NEWIPC")
        for name in new:
            syscalls.unshare(getattr(syscalls, f"CLONE_{name}"))
        pid = syscalls.fork_tied()
    except OSError as error:
        _say(error=f"no namespaces of our own ({error}); are user namespaces or root at hand?")
        sys.exit(1)
    if pid == 0:
        _be_init(Plan.parse(line))
    _say(pid=pid)
    _, status = os.waitpid(pid, 0)
    sys.exit(0 if os.WIFEXITED(status) else 1)


def _say(**words: Any) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def _be_init(plan: Plan) -> NoReturn:
    try:
        lab = LabInit(plan)
        lab.build()
    except (OSError, TargetError) as error:
        _say(error=str(error))
        os._exit(1)
    lab.serve()


@dataclass(slots=True, kw_only=True)
class Place:
    """A node as it stands: its network namespace is held here, power or not."""

    plot: Plot
    netns: int
    pid: int = 0  # of its init; 0: no power
    pipe: socket.socket | None = None  # its init tells of its processes here
    told: bytes = b""  # the part of a line that has arrived
    runs: tuple[Run, ...] = ()
    failed: Mapping[str, str] | None = None  # of the last boot; None until it is up
    down_ns: int | None = None

    @property
    def up(self) -> bool:
        """Whether it has power."""
        return self.pid != 0


class LabInit:
    """The state of a lab: its nodes, by name."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._places: dict[str, Place] = {}
        self._loop = Loop(self._reap)
        self._host_proc = self._lab_proc = self._server_fd = -1
        self._ops = {"nodes": self._nodes, "ps": self._ps, "poweroff": self._poweroff, "boot": self._boot}

    # ------------------------------------------------------------ building

    def build(self) -> None:
        """Make mounts, bridge, links and nodes; OSError or TargetError says what was refused."""
        self._mounts()
        hub = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for plot in self._plan.plots:
            self._serve_files(plot)
            self._places[plot.name] = Place(plot=plot, netns=new_netns(hub))
        self._wire_up(hub)
        for place in self._places.values():
            self._fork_node(place)

    def serve(self) -> NoReturn:
        """Answer until the controller is gone."""
        server = wire.listen(Path(self._plan.folder, "run", "lab.sock"))
        self._loop.watch(server.fileno(), lambda: wire.answer(server, self._handle))
        self._loop.watch(0, _end_of_controller)
        _say(ready=True, netns={name: place.netns for name, place in self._places.items()})
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self._loop.run()

    def _mounts(self) -> None:
        """Slave, not private: a private copy of the machine's mounts would pin what others unmount meanwhile."""
        syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_SLAVE)
        self._host_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
        self._lab_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        socket.sethostname(f"hub-{self._plan.id}")
        hosts = Path(self._plan.folder, "run", "hosts")
        lines = ["127.0.0.1 localhost", *(f"{plot.address} {plot.name}" for plot in self._plan.plots)]
        hosts.write_text("\n".join(lines) + "\n", encoding="ascii")
        if Path("/etc/hosts").exists():
            syscalls.mount(str(hosts), "/etc/hosts", flags=syscalls.MS_BIND)

    def _serve_files(self, plot: Plot) -> None:
        """Mount the node's disk over its folder, before any node copies our mounts; it dies with us."""
        if not plot.disk:
            return
        folder, control = wire.disk(self._plan.folder, plot.name)
        argv = [plot.disk, "--folder", folder, "--control", control]
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        assert server.stdout is not None
        with server.stdout as said:
            if (first := said.readline().decode(errors="replace").strip()) != "ready":
                raise TargetError(f"{plot.name}: its disk did not come up: {first or 'it said nothing'}")

    def _wire_up(self, hub: int) -> None:
        places = self._places.values()
        ports = (line for place in places for line in port_lines(place.plot.port, place.netns))
        ip(*hub_lines(self._plan.hub_address), *ports, keep=[place.netns for place in places])
        for place in places:
            syscalls.setns(place.netns, syscalls.CLONE_NEWNET)
            try:
                ip(*node_lines(place.plot.address))
            finally:
                syscalls.setns(hub, syscalls.CLONE_NEWNET)

    # ------------------------------------------------------------ power

    def _fork_node(self, place: Place) -> None:
        """Start the init of a node, and wait until it serves."""
        mine, its = socket.socketpair()
        read, write = os.pipe2(os.O_CLOEXEC)
        step = os.fork()
        if step == 0:
            os.close(read)
            mine.close()
            self._be_node(place, its, write)
        its.close()
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.readline()
        os.waitpid(step, 0)
        if not said.strip().isdigit():
            raise TargetError(f"{place.plot.name}: no init: {said.decode() or 'it died at once'}")
        place.pid, place.pipe, place.told, place.failed = int(said), mine, b"", None
        self._loop.watch(mine.fileno(), lambda: self._catch_up(place))
        self._await_up(place)

    def _be_node(self, place: Place, its: socket.socket, write: int) -> NoReturn:
        """In a child: enter the node's network, make its other namespaces, and leave its init behind."""
        try:
            syscalls.setns(place.netns, syscalls.CLONE_NEWNET)
            syscalls.unshare(syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS)
            pid = os.fork()
            if pid:
                os.write(write, f"{pid}\n".encode())
                os._exit(0)
            os.close(write)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            for other in self._places.values():
                if other.pipe is not None:
                    other.pipe.close()
            NodeInit(self._seat(place.plot), place.runs, its).boot()
        except (OSError, TargetError) as error:
            with contextlib.suppress(OSError):  # the pipe is closed once the init is forked
                os.write(write, f"{error}\n".encode())
            os.write(2, f"{place.plot.name}: {error}\n".encode())
        finally:
            os._exit(1)

    def _seat(self, plot: Plot) -> Seat:
        return Seat(
            node=plot.name,
            folder=self._plan.folder,
            groups=plot.groups,
            freezer=plot.freezer,
            lab_proc=self._lab_proc,
            host_proc=self._host_proc,
            at_boot=plot.at_boot,
            addresses={other.name: other.address for other in self._plan.plots},
        )

    def _await_up(self, place: Place) -> None:
        """Read on until the node's init has told of its boot."""
        deadline = time.monotonic() + _BOOT_S
        assert place.pipe is not None
        while place.failed is None:
            place.pipe.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                heard = self._hear(place)
            except TimeoutError:
                heard = False
            if not heard and place.failed is None:
                raise TargetError(f"{place.plot.name}: its init did not come up; the lab's init.log says why")
        place.pipe.setblocking(False)
        place.down_ns = None

    def _hear(self, place: Place) -> bool:
        """Take in what a node's init told of its processes; False at the end of it."""
        assert place.pipe is not None
        try:
            part = place.pipe.recv(1 << 16)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            part = b""
        if not part:
            self._hang_up(place)
            return False
        *lines, place.told = (place.told + part).split(b"\n")
        for line in lines:
            told = json.loads(line)
            place.runs = tuple(Run(**{**run, "argv": tuple(run["argv"])}) for run in told["runs"])
            place.failed = told.get("failed", place.failed)
        return True

    def _hang_up(self, place: Place) -> None:
        if place.pipe is not None:
            self._loop.forget(place.pipe.fileno())
            place.pipe.close()
            place.pipe = None

    def _reap(self) -> None:
        now_ns = time.monotonic_ns()
        ended = dict(ended_children())
        for place in self._places.values():
            if place.pid in ended:
                self._lost_power(place, now_ns)

    def _lost_power(self, place: Place, at_ns: int) -> None:
        self._catch_up(place)  # the last words, sent before it died
        self._hang_up(place)
        place.pid, place.down_ns = 0, at_ns
        place.runs = tuple(run.lost_power(at_ns) for run in place.runs)

    # ------------------------------------------------------------ requests

    def _handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        op = self._ops.get(request.get("op", ""))
        if op is None:
            raise TargetError(f"no op {request.get('op')!r}; a lab knows {', '.join(self._ops)}")
        return op(request)

    def _place(self, request: Mapping[str, Any]) -> Place:
        try:
            return self._places[request["node"]]
        except KeyError:
            raise TargetError(f"no node {request.get('node')!r}; there are: {', '.join(self._places)}") from None

    def _nodes(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return {"nodes": {name: _described(place) for name, place in self._places.items()}}

    def _ps(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        for place in self._places.values():
            self._catch_up(place)
            mine = [run.row() for run in place.runs]
            rows += rows_stopped(mine, "pid_lab", frozen=place.up and frozen(place.plot.freezer))
        return {"processes": rows}

    def _catch_up(self, place: Place) -> None:
        while place.pipe is not None and self._hear(place):
            pass

    def _poweroff(self, request: Mapping[str, Any]) -> dict[str, Any]:
        place = self._place(request)
        if place.up:
            ip(f"link set {place.plot.port} down")
            os.kill(place.pid, signal.SIGKILL)
            self._await_dead(place)
        return {"ended_ns": place.down_ns}

    def _await_dead(self, place: Place) -> None:
        deadline = time.monotonic() + _DEATH_S
        while place.up:
            self._reap()
            if not place.up:
                return
            if time.monotonic() > deadline:
                raise TargetError(f"{place.plot.name}: killed, and still there after {_DEATH_S} s")
            time.sleep(0.002)

    def _boot(self, request: Mapping[str, Any]) -> dict[str, Any]:
        place = self._place(request)
        if place.up:
            return {"booted": [], "failed": {}}
        names = [run.name for run in place.runs if run.unpowered]
        self._thaw(place)
        ip(f"link set {place.plot.port} up")
        self._fork_node(place)
        failed = dict(place.failed or {})
        return {"booted": [name for name in names if name not in failed], "failed": failed}

    @staticmethod
    def _thaw(place: Place) -> None:
        """Thaw its cgroup: a machine that was frozen and lost its power boots unfrozen."""
        if frozen(place.plot.freezer):
            Path(str(place.plot.freezer)).write_text("0", encoding="ascii")


def _end_of_controller() -> None:
    """End the lab at the end of stdin, where the plan was the only word."""
    if not os.read(0, 4096):
        os._exit(0)


def _described(place: Place) -> dict[str, Any]:
    plot = place.plot
    state = {"pid": place.pid, "up": place.up, "down_ns": place.down_ns, "netns": f"/proc/1/fd/{place.netns}"}
    return {**state, "address": plot.address, "port": plot.port, "freezer": plot.freezer}
