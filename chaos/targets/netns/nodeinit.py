"""PID 1 of a node: starts, signals and reaps its processes, and tells the lab's init of every change.

    lab init ──fork──▶ node init (PID 1) ──fork──▶ server ──▶ its own forks, adopted and reaped here
       ▲                  │   own proc, hostname, /tmp
       └── table ─────────┘   SIGKILL of it ends them all: the kernel does that

The init itself stays out of the node's cgroup: it must answer while the node is frozen.
/tmp and /dev/shm are the node's own; what a command names below /tmp (a data folder, a log) is shown to it
from the machine's.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chaos.errors import TargetError
from chaos.targets.netns import syscalls, wire
from chaos.targets.netns.loop import Loop, ended_children, rows_stopped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SIGNALS = ("KILL", "STOP", "CONT", "TERM", "INT", "HUP")
_REAP_S = 5.0  # a killed process is reaped within this, or something in the kernel holds it
_BELOW_TMP = re.compile(r"/tmp/([^/:;,=\s]+)")  # noqa: S108 - the very folder this is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a node init sits: what it was given by the lab's init. Descriptors are open ones."""

    node: str
    folder: str  # the lab's
    groups: tuple[str, ...]  # cgroup folders that its processes join
    freezer: str | None  # path of cgroup.freeze
    lab_proc: int  # the lab's /proc, and the controller's: each tells a process its pid there
    host_proc: int
    at_boot: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)  # of all nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A process by its recorded command, and its newest start."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    log: str
    node: str
    pid: int = 0
    pid_lab: int = 0
    pid_host: int = 0
    started_ns: int = 0
    starts: int = 0
    exit_code: int | None = None
    ended_ns: int | None = None
    killed: bool = False  # by a signal op: `revive` starts it again, unless it is retired
    held: bool = False  # by a signal op STOP: cont_all leaves it stopped
    retired: bool = False  # ended for good
    unpowered: bool = False  # ran when the node lost its power: `boot` starts it again

    @property
    def runs(self) -> bool:
        """Whether it was not seen to end."""
        return self.exit_code is None

    def row(self) -> dict[str, Any]:
        """Return what `ps` says of it, but for `stopped`."""
        said = asdict(self)
        return {key: said[key] for key in _ROW}

    def lost_power(self, at_ns: int) -> Run:
        """Return it as the end of its node's power leaves it."""
        if not self.runs:
            return self
        return replace(self, exit_code=-signal.SIGKILL, ended_ns=at_ns, held=False, unpowered=not self.retired)


_ROW = (
    *("name", "node", "pid", "pid_lab", "pid_host", "started_ns", "starts"),
    *("exit_code", "ended_ns", "killed"),
)


def recorded(process: Mapping[str, Any], node: str) -> Run:
    """Read chaos.model.Process as JSON; TargetError if there is no command."""
    if not process.get("name") or not process.get("argv"):
        raise TargetError(f"a process needs a name and an argv, got {dict(process)!r}")
    return Run(
        name=process["name"],
        argv=tuple(process["argv"]),
        env=dict(process.get("env") or {}),
        cwd=process.get("cwd") or "",
        log=process.get("log") or "",
        node=node,
        exit_code=0,
    )


def frozen(freezer: str | None) -> bool:
    """Return whether the cgroup of that `cgroup.freeze` is asked to be frozen."""
    if freezer is None:
        return False
    try:
        return Path(freezer).read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


class NodeInit:
    """The state of a node with power: its table of processes."""

    def __init__(self, seat: Seat, runs: Sequence[Run], lab: socket.socket) -> None:
        self._seat = seat
        self._runs = {run.name: run for run in runs}
        self._lab = lab
        self._machine_tmp = -1

    def boot(self) -> NoReturn:
        """Furnish the namespaces, start again what ran when the power was lost, and serve."""
        self._furnish()
        self._run_at_boot()
        server = wire.listen(Path(self._seat.folder, "run", f"{self._seat.node}.sock"))
        loop = Loop(self._reap)
        failed = self._restart([run.name for run in self._runs.values() if run.unpowered])
        self._tell(failed=failed)
        loop.watch(server.fileno(), lambda: wire.answer(server, self.handle))
        loop.run()

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request; the ops are listed in wire.py."""
        self._reap()  # so that no answer is older than its question
        op = request.get("op")
        if op == "start":
            return {"process": self._start_new(request["process"])}
        if op == "signal":
            lasting = bool(request.get("lasting"))
            return {"signalled": self._signal(request["name"], request["signal"], lasting=lasting)}
        if op == "revive":
            return {"revived": self._revive(request["name"])}
        if op == "ps":
            rows = [run.row() for run in self._runs.values()]
            return {"processes": rows_stopped(rows, "pid", frozen=frozen(self._seat.freezer))}
        if op == "stop_all":
            return self._signal_all(signal.SIGSTOP)
        if op == "cont_all":
            return self._cont_all()
        raise TargetError(f"no op {op!r}; a node knows start, signal, revive, ps, stop_all, cont_all")

    # ------------------------------------------------------------ processes

    def _start_new(self, process: Mapping[str, Any]) -> dict[str, Any]:
        run = recorded(process, self._seat.node)
        before = self._runs.get(run.name)
        if before is not None and before.runs:
            raise TargetError(f"{run.name} runs already, as pid {before.pid}; stop it first")
        started = self._launch(replace(run, starts=before.starts if before else 0))
        self._tell()
        return started.row()

    def _launch(self, run: Run) -> Run:
        """Start a recorded command; TargetError saying why it did not come to run."""
        if frozen(self._seat.freezer):
            raise TargetError(f"{run.name}: {self._seat.node} is frozen; thaw it first")
        env = {key: value for key, value in os.environ.items() if key != "TMPDIR"} | dict(run.env)
        self._show((run.cwd, run.log, env.get("PATH", ""), *run.argv, *run.env.values()))
        read, write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self._become(run, env, write)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as pipe:
            said = pipe.read()  # ends when exec closes the child's end
        pids, _, refusal = said.partition("\n")
        if refusal:
            raise TargetError(f"{run.name}: can't start {run.argv[0]!r}: {refusal}")
        pid_lab, pid_host = (int(text) for text in pids.split()) if pids else (0, 0)
        started = replace(
            run,
            pid=pid,
            pid_lab=pid_lab,
            pid_host=pid_host,
            started_ns=time.monotonic_ns(),
            starts=run.starts + 1,
            exit_code=None,
            ended_ns=None,
            killed=False,
            held=False,
            retired=False,
            unpowered=False,
        )
        self._runs[run.name] = started
        return started

    def _become(self, run: Run, env: Mapping[str, str], status: int) -> NoReturn:
        """Turn this fresh child into the process; what goes wrong is written to `status`."""
        try:
            pids = [os.readlink("self", dir_fd=proc) for proc in (self._seat.lab_proc, self._seat.host_proc)]
            os.write(status, " ".join(pids).encode() + b"\n")
            os.setsid()
            for group in self._seat.groups:
                Path(group, "cgroup.procs").write_text("0", encoding="ascii")
            _redirect(run.log)
            if run.cwd:
                os.chdir(run.cwd)
            os.closerange(3, status)
            os.closerange(status + 1, 1 << 16)
            _forget_signals()
            os.execvpe(run.argv[0], run.argv, env)  # noqa: S606 - a shell would be in the way
        except OSError as error:
            os.write(status, str(error).encode())
        finally:
            os._exit(127)

    def _signal(self, name: str, signal_name: str, *, lasting: bool) -> list[str]:
        if signal_name not in SIGNALS:
            raise TargetError(f"no signal {signal_name!r}; a node sends {', '.join(SIGNALS)}")
        hit = [run for run in self._named(name) if run.runs]
        number = signal.Signals[f"SIG{signal_name}"]
        for run in hit:
            os.killpg(run.pid, number)
            self._runs[run.name] = replace(
                run,
                killed=run.killed or signal_name == "KILL",
                held=signal_name == "STOP" or (run.held and signal_name != "CONT"),
                retired=run.retired or lasting,
            )
        self._tell()
        return [run.name for run in hit]

    def _revive(self, name: str) -> list[str]:
        names = [run.name for run in self._named(name) if run.killed and not run.retired]
        self._await_reaped(names)
        failed = self._restart(names)
        self._tell()
        if failed:
            raise TargetError("; ".join(failed.values()))
        return names

    def _restart(self, names: Iterable[str]) -> dict[str, str]:
        """Start them again; return those that would not, with the reason."""
        failed = {}
        for name in names:
            try:
                self._launch(self._runs[name])
            except TargetError as error:
                failed[name] = str(error)
        return failed

    def _await_reaped(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + _REAP_S
        self._reap()
        while alive := [name for name in names if self._runs[name].runs]:
            if time.monotonic() > deadline:
                raise TargetError(f"{', '.join(alive)}: killed, and still there after {_REAP_S} s")
            time.sleep(0.002)
            self._reap()

    def _named(self, name: str) -> list[Run]:
        if not name:
            return list(self._runs.values())
        if name not in self._runs:
            raise TargetError(f"no process {name!r}; there are: {', '.join(self._runs) or 'none'}")
        return [self._runs[name]]

    def _signal_all(self, number: signal.Signals) -> dict[str, Any]:
        """Signal whatever lives on the node: in a PID namespace kill(-1) reaches all but its init, at once."""
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return {}  # nothing lives on the node
        return {}

    def _cont_all(self) -> dict[str, Any]:
        self._signal_all(signal.SIGCONT)
        for run in self._runs.values():
            if run.held and run.runs:
                os.killpg(run.pid, signal.SIGSTOP)
        return {}

    def _reap(self) -> None:
        now_ns = time.monotonic_ns()
        ended = dict(ended_children())
        mine = [run for run in self._runs.values() if run.runs and run.pid in ended]
        for run in mine:
            self._runs[run.name] = replace(run, exit_code=ended[run.pid], ended_ns=now_ns)
        if mine:
            self._tell()

    def _tell(self, **more: Any) -> None:
        """Send the whole table to the lab's init: it is what remains when this process is killed."""
        self._lab.sendall(encoded(self._runs.values(), **more))

    # ------------------------------------------------------------ the room

    def _furnish(self) -> None:
        socket.sethostname(self._seat.node)
        safe = syscalls.MS_NOSUID | syscalls.MS_NODEV
        syscalls.mount("proc", "/proc", "proc", safe | syscalls.MS_NOEXEC)
        self._machine_tmp = os.open("/tmp", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: S108
        syscalls.mount("tmpfs", "/tmp", "tmpfs", safe, "mode=1777")  # noqa: S108
        if Path("/dev/shm").is_dir():  # noqa: S108
            syscalls.mount("tmpfs", "/dev/shm", "tmpfs", safe, "mode=1777")  # noqa: S108
        self._show((self._seat.folder, sys.prefix, sys.base_prefix))

    def _run_at_boot(self) -> None:
        """Run the node's own command, which knows by its environment where it is; TargetError with its last words."""
        if not self._seat.at_boot:
            return
        here = {
            "CHAOSGATE_NODE": self._seat.node,
            "CHAOSGATE_FOLDER": str(Path(self._seat.folder, "nodes", self._seat.node)),
            "CHAOSGATE_GROUP": f"chaosgate-{Path(self._seat.folder).name}/{self._seat.node}",
            "CHAOSGATE_ADDRESSES": " ".join(f"{name}={address}" for name, address in self._seat.addresses.items()),
        }
        self._show(self._seat.at_boot)
        done = subprocess.run(
            self._seat.at_boot, env=os.environ | here, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            raise TargetError(f"at its boot: {(done.stderr or done.stdout).strip()[-500:]}")

    def _show(self, texts: Iterable[str]) -> None:
        """Bind what the texts name below /tmp from the machine's /tmp, whole top-level entries at a time."""
        for entry in {entry for text in texts for entry in _BELOW_TMP.findall(text)}:
            here, there = Path("/tmp", entry), Path(f"/proc/self/fd/{self._machine_tmp}", entry)  # noqa: S108
            if here.exists() or entry in {".", ".."} or not there.exists():
                continue
            here.mkdir() if there.is_dir() else here.touch()
            syscalls.mount(str(there), str(here), flags=syscalls.MS_BIND | syscalls.MS_REC)


def encoded(runs: Iterable[Run], **more: Any) -> bytes:
    """Return one line of the table's way from a node's init to the lab's."""
    return json.dumps({"runs": [asdict(run) for run in runs], **more}).encode() + b"\n"


def _redirect(log: str) -> None:
    """Make stdin empty, and append stdout and stderr to `log` (nowhere if there is none)."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    out = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | (os.O_CREAT if log else 0), 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)


def _forget_signals() -> None:
    """Undo what Python ignores: ignored signals outlive exec, handlers don't."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
