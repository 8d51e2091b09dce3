"""A stack's processes on a lab: started, waited for, and quoted when one of them gives up.

start ─▶ wait until nothing is missing ─▶ …            what is missing is a sentence; "" is what is hoped for
             └─ one ended? its exit code and the tail of its log, at once
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chaos.clock import ns
from chaos.errors import StackError
from chaos.ports import Reaches, RunsProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chaos.model import Process, ProcessState, Topology
    from chaos.ports import Clock

_POLL_S = 0.02
_LOG_TAIL_LINES = 15


class Lab(RunsProcesses, Reaches, Protocol):
    """What a stack needs of a target."""

    def topology(self) -> Topology:
        """Nodes with their addresses."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The processes that stack `what` has started on `lab`; each logs to `logs`/<node>-<process>.log."""

    lab: Lab
    logs: Path
    clock: Clock
    what: str
    _started: dict[str, list[str]] = field(default_factory=dict)  # node → names of its processes

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes on which something was started, in that order."""
        return tuple(self._started)

    def start(self, node: str, process: Process) -> ProcessState:
        """Start a process."""
        names = self._started.setdefault(node, [])
        if process.name not in names:
            names.append(process.name)
        return self.lab.start(node, process)

    def restart(self, node: str, process: Process, grace_s: float) -> ProcessState:
        """SIGTERM, after `grace_s` SIGKILL; then start it, which may have another command now."""
        self.lab.stop(node, process.name, grace_s=grace_s)
        return self.start(node, process)

    def log(self, node: str, name: str) -> Path:
        """Return the path of a process's log."""
        return self.logs / f"{node}-{name}.log"

    def state(self, node: str, name: str) -> ProcessState | None:
        """Return the newest state of a process; None if it was never started."""
        states = [s for s in self.lab.processes() if (s.node, s.name) == (node, name)]
        return max(states, key=lambda s: s.started_ns, default=None)

    def tail(self, node: str, name: str) -> str:
        """Return the last lines of a process's log, below its path."""
        log = self.log(node, name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else ["(no log)"]
        return "\n".join([f"--- {log}", *lines[-_LOG_TAIL_LINES:]])

    def refuse_the_dead(self, names: Sequence[str]) -> None:
        """Raise StackError if a process of one of these nodes has ended."""
        for node in names:
            for name in self._started.get(node, ()):
                state = self.state(node, name)
                if state is not None and state.exit_code is not None:
                    raise StackError(f"{node}: {name} ended with {state.exit_code}\n{self.tail(node, name)}")

    def wait(
        self,
        why: Callable[[], str],
        deadline_ns: int,
        what: str,
        *,
        names: Sequence[str] | None = None,
        every_s: float = _POLL_S,
    ) -> None:
        """Ask `why` again and again, `every_s` after its last answer, until it is "".

        StackError `what: <the newest why>` with the logs' tails at the deadline, and at once if a process of the nodes
        `names` (default: of all) has ended.
        """
        watched = self.nodes if names is None else names
        missing = "not asked yet"
        while self.clock.now_ns() < deadline_ns:
            self.refuse_the_dead(watched)
            missing = why()
            if not missing:
                return
            self.pause(every_s)
        tails = [self.tail(node, name) for node in watched for name in self._started.get(node, ())]
        raise StackError("\n".join([f"{what}: {missing}", *tails]))

    def pause(self, for_s: float = _POLL_S) -> None:
        """Sleep; StackError if the run was interrupted."""
        if not self.clock.sleep_until(self.clock.now_ns() + ns(for_s)):
            raise StackError(f"interrupted while waiting for {self.what}")
