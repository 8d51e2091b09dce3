"""The embedded lab as a Target: its nodes' processes, the agent beside them, and every fault measured.

    engine ── inject ──▶ NetnsTarget ── JSON lines ──▶ agent in the hub ──▶ shaper, inits, freezers

How a step is put into force, measured and healed: chaos/targets/agents.
"""

from __future__ import annotations

import platform
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chaos
from chaos.agent import journal, replay
from chaos.agent.points import effect
from chaos.agent.trust import believe
from chaos.environment import of_children
from chaos.errors import AgentError, DirtyError, TargetError
from chaos.piped import PipedProcess
from chaos.targets.agents.client import AgentClient
from chaos.targets.agents.mechanisms import Means
from chaos.targets.agents.target import AgentTarget
from chaos.targets.netns.clocks import MECHANISM
from chaos.targets.netns.disks import FUSE
from chaos.targets.netns.lab import Lab
from chaos.targets.netns.sweep import await_dying, is_ours, sweep, trust

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from chaos.model import Process, ProcessState, Topology
    from chaos.targets.netns.lab import NodeSpec

LEASE_S = 10.0
HELLO_S = 30.0
JOURNAL = "journal"
POWER = "node init"


class NetnsTarget(AgentTarget):
    """A lab with an agent in it. Use `open_netns`."""

    name = "netns"

    def __init__(self, lab: Lab, evidence: Path, *, lease_s: float = LEASE_S, shaper: str | None = None) -> None:
        super().__init__(evidence)
        self.lab = lab
        self._lease_s, self._wanted_shaper = lease_s, shaper
        self._greeting: dict[str, Any] = {}
        self.client = self._start_agents()
        self._begin()

    # ------------------------------------------------------------ Target

    def topology(self) -> Topology:
        """Nodes and capabilities."""
        return self.lab.topology

    def describe(self) -> Mapping[str, Any]:
        """Return kernel, shaper (backend, real-time, why not the others), meter, lease and freezer."""
        return {
            "target": self.name,
            "kernel": platform.release(),
            "machine": platform.machine(),
            "capabilities": sorted(self.topology().capabilities),
            "lease_s": self._lease_s,
            "shaper": self._greeting["shaper"],
            "meter": self._greeting["meter"],
            "freezer": self._freezer(),
            "power": "ends processes and link; unsynced writes survive in the page cache, unless they are to be lost",
        }

    def _means(self) -> Means:
        shaper, capabilities = self._greeting["shaper"], self.topology().capabilities
        quotas = [path.name for node in self.topology().nodes if (path := self.lab.quota(node.name))]
        why = "; ".join(f"{name}: {text}" for name, text in shaper["why"].items() if text)
        reasons = {
            "shaper": "" if shaper["backend"] else f"no shaper works here ({why}); any one of them would do",
            "quota": "" if quotas else "no node of this lab has a CPU quota of its own; open it with cpu limits",
            "disk": "" if "disk" in capabilities else "no program of ours serves this lab's files; open it with disks",
            "clock": "" if "clock" in capabilities else "the nodes of this lab have the machine's; open it with clocks",
        }
        return Means(
            freezer=self._freezer(),
            there={
                "shaper": shaper["backend"],
                "quota": next(iter(quotas), ""),
                "disk": FUSE,
                "clock": MECHANISM,
                "power": POWER,
            },
            why_not={what: reason for what, reason in reasons.items() if reason},
        )

    def _freezer(self) -> str:
        return "cgroup.freeze" if "freeze-cgroup" in self.topology().capabilities else "SIGSTOP"

    # ------------------------------------------------------------ RunsProcesses, Reaches

    def start(self, node: str, process: Process) -> ProcessState:
        """Start it; the command is recorded as the undo of a kill."""
        return effect("process.start", lambda: self.lab.start(node, process))

    def stop(self, node: str, name: str, *, grace_s: float) -> ProcessState:
        """SIGTERM, after `grace_s` SIGKILL; not started again by a heal."""
        return effect("process.stop", lambda: self.lab.stop(node, name, grace_s=grace_s))

    def processes(self) -> Sequence[ProcessState]:
        """Every process ever started, with its end if it has one."""
        return self.lab.processes()

    def folder(self, node: str) -> Path:
        """Return the node's data folder, the same path here and on the node."""
        return self.lab.folder_of(node)

    def entered(self, node: str = "") -> AbstractContextManager[None]:
        """Sockets that this thread makes inside the block belong to the node's network ("": the hub's)."""
        return self.lab.entered(node)

    def spawn(self, node: str, argv: Sequence[str], **popen: Any) -> subprocess.Popen[bytes]:
        """Start a helper inside a node; it dies with the lab."""
        return effect("helper.spawn", lambda: self.lab.spawn(node, argv, **popen))

    # ------------------------------------------------------------ the agent

    def _start_agents(self) -> AgentClient:
        log = self.lab.folder / "run" / "agent.log"
        with log.open("ab") as stderr:
            process = effect("agent.start", lambda: self._spawn_agent(stderr.fileno()))
        client = AgentClient(PipedProcess(process, log), lease_s=self._lease_s, on_event=self._heard)
        try:
            self._greeting = client.hello(self._hello(), HELLO_S)
        except AgentError as error:
            client.close()
            raise TargetError(f"{error}; its log: {log.read_text(encoding='utf-8')[-2000:]}") from error
        return client

    def _spawn_agent(self, stderr: int) -> subprocess.Popen[bytes]:
        pipe = -1  # subprocess.PIPE
        fds = [self.lab.node_netns(node.name) for node in self.topology().nodes]
        argv = [sys.executable, "-m", "chaos.agent"]
        environment = of_children(PYTHONPATH=str(Path(chaos.__file__).parents[1]))
        return self.lab.spawn("", argv, stdin=pipe, stdout=pipe, stderr=stderr, pass_fds=fds, env=environment)

    def _hello(self) -> dict[str, Any]:
        nodes = [
            {
                "name": node.name,
                "address": node.address,
                "socket": str(self.lab.socket_of(node.name)),
                "netns": self.lab.node_netns(node.name),
                "port": self.lab.port(node.name),
                "freezer": str(self.lab.freezer(node.name) or ""),
                "quota": str(self.lab.quota(node.name) or ""),
                "folder": str(self.lab.folder_of(node.name)),
                "disk": self.lab.disk(node.name),
                "clock": dict(self.lab.clock(node.name)),
            }
            for node in self.topology().nodes
        ]
        return {
            "nodes": nodes,
            "lab_socket": str(self.lab.socket_of()),
            "hub_netns": "/proc/self/ns/net",  # the agent lives in the hub
            "journal": str(self.lab.folder / JOURNAL),
            "lease_s": self._lease_s,
            "shaper": self._wanted_shaper,
        }


@contextmanager
def open_netns(nodes: Sequence[NodeSpec], *, base: Path, evidence: Path) -> Iterator[NetnsTarget]:
    """Build a lab below `base`, with its agent; evidence files go to `evidence`. Nothing is left at the end.

    UsageError for bad nodes, CapabilityError for what this machine lacks, TargetError if it did not come up.
    """
    with ExitStack() as stack:
        lab = effect("lab.open", lambda: Lab.open(nodes, base=base))
        stack.callback(effect, "lab.close", lab.close)
        target = NetnsTarget(lab, evidence)
        stack.callback(target.close)
        yield target


def heal_leftovers(base: Path) -> list[str]:
    """Replay every journal below `base` that no living run owns; return what was undone.

    DirtyError if one can't be undone; UsageError if the base, or what is in a journal of ours, may be another user's.
    """
    trust(base)
    await_dying(base)
    ours = [path for path in base.glob(f"*/{JOURNAL}") if is_ours(path.parent) and is_ours(path)]
    dead = sorted(path for path in ours if not journal.is_owned(path.parent) and not journal.is_owned(path))
    for folder in dead:
        believe(folder)
    return [f"{folder}: {name}" for folder in dead for name in replay.heal(folder)]


def clear_leftovers(base: Path) -> None:
    """Undo and remove what dead runs left below `base`, before anything new begins; DirtyError if something stays."""
    heal_leftovers(base)
    if failed := sweep(base).failed:
        raise DirtyError(f"a dead run left what would not go: {'; '.join(failed)}; `chaosgate heal` tries again")
