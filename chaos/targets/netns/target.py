"""The embedded lab as a Target: its nodes' processes, the agent beside them, and every fault measured.

    engine ── inject ──▶ NetnsTarget ── JSON lines ──▶ agent in the hub ──▶ shaper, inits, freezers
                            │ bare paths, measured while nothing is in force
                            └▶ NetnsInjection: applied, confirmed, watched, healed, proved

An agent that dies is no silence: every injection in force says so, and the next heal starts a new agent, which
replays the journal of the old one before it does anything else.
"""

from __future__ import annotations

import itertools
import json
import platform
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chaos
from chaos.agent import journal, replay
from chaos.agent.points import effect
from chaos.agent.trust import believe
from chaos.environment import of_children
from chaos.errors import AgentError, CapabilityError, DirtyError, HarnessError, TargetError
from chaos.fidelity import check
from chaos.model import (
    Aimed,
    NodeAction,
    StackAction,
    to_json,
)
from chaos.piped import PipedProcess
from chaos.targets.netns import probing
from chaos.targets.netns.baseline import Baseline
from chaos.targets.netns.client import AgentClient
from chaos.targets.netns.clocks import MECHANISM
from chaos.targets.netns.disks import FUSE
from chaos.targets.netns.injection import NetnsInjection
from chaos.targets.netns.lab import Lab
from chaos.targets.netns.mechanisms import Means, mechanism
from chaos.targets.netns.paths import paths
from chaos.targets.netns.sweep import await_dying, is_ours, sweep, trust

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from chaos.model import Action, Measurement, Process, ProcessState, Topology
    from chaos.targets.netns.lab import NodeSpec

LEASE_S = 10.0
HELLO_S = 30.0
ASK_S = 15.0
REFRESH_S = 3.0  # between two looks at the bare paths while nothing is in force
JOURNAL = "journal"


class NetnsTarget:
    """A lab with an agent in it. Use `open_netns`."""

    name = "netns"

    def __init__(self, lab: Lab, evidence: Path, *, lease_s: float = LEASE_S, shaper: str | None = None) -> None:
        self.lab = lab
        self.bare = Baseline()
        self._evidence = evidence.absolute()
        self._lease_s, self._wanted_shaper = lease_s, shaper
        self._lock = threading.RLock()
        self._reviving = threading.Lock()  # its own: who ends a dead agent waits for its reader, which takes the other
        self._in_force: list[NetnsInjection] = []
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._greeting: dict[str, Any] = {}
        self.client = self._start_agent()
        self._learn(40, 80.0)
        self._before = self._kernel()  # after the first packets: links that come up change their state until then
        self._keep("kernel-before.json", self._before)
        self._refreshing = threading.Thread(target=self._refresh, name="bare-paths", daemon=True)
        self._refreshing.start()

    # ------------------------------------------------------------ Target

    def topology(self) -> Topology:
        """Nodes and capabilities."""
        return self.lab.topology

    def inject(self, aimed: Sequence[Aimed], *, deadline_s: float) -> NetnsInjection:
        """Do all of a step together; AgentError if any of it is refused, and then nothing of it stays."""
        for one in aimed:
            self.backend(one.action)  # refuses what can't be done here
        self.revive_agent()
        with self._lock:
            others = [one for injection in self._in_force for one in injection.aimed]
            found = paths(aimed, others, [node.name for node in self.topology().nodes])
            wanted = probing.plan([_node_action(one.action) for one in aimed], found)
            injection = NetnsInjection(self, f"i{next(self._numbers)}", aimed, wanted)
            self._in_force.append(injection)
        try:
            injection.begin(deadline_s)
        except BaseException:  # also Ctrl-C: an injection that did not begin is none
            self.leave(injection)
            raise
        return injection

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

    # ------------------------------------------------------------ Backends

    def backend(self, action: Action) -> str:
        """Return the mechanism for an action; CapabilityError naming what is missing."""
        if isinstance(action, StackAction):
            raise CapabilityError(f"{action.kind}: not for a target; {action.operation} is the stack's own")
        return mechanism(action, self._means())

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
            there={"shaper": shaper["backend"], "quota": next(iter(quotas), ""), "disk": FUSE, "clock": MECHANISM},
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

    # ------------------------------------------------------------ for injections

    def send_inject(self, *, name: str, aimed: Aimed, deadline_s: float) -> Future[dict[str, Any]]:
        """Ask the agent for one action."""
        action = to_json(aimed.action)
        return effect(
            "agent.inject",
            lambda: self.client.send("inject", name=name, subject=aimed.subject, action=action, deadline_s=deadline_s),
        )

    def evidence_file(self, name: str) -> Path:
        """Return the path of a new file of evidence."""
        with suppress(OSError):  # then it can't be written either, which is for the writer to tell
            self._evidence.mkdir(parents=True, exist_ok=True)
        return self._evidence / name

    def neighbour(self, node: str) -> str | None:
        """Return another node, from which this one can be tried; None if it is alone."""
        return next((other.name for other in self.topology().nodes if other.name != node), None)

    def leave(self, injection: NetnsInjection) -> None:
        """Note that an injection is over; the bare paths may be learnt again when it was the last."""
        with self._lock:
            if injection in self._in_force:
                self._in_force.remove(injection)

    def restored(self, injection: NetnsInjection) -> tuple[Measurement, ...]:
        """Compare the kernel's network state with that before any fault; nothing while others are in force."""
        with self._lock:
            if any(other is not injection for other in self._in_force):
                return ()
        name = "kernel network state restored = before"
        try:
            after = self._kernel()
        except AgentError as error:
            return (check(name, holds=None, why=str(error)),)
        self._keep(f"{injection.name}-healed-kernel.json", after)
        if unseen := not_looked_at(self._before, after):
            return (check(name, holds=None, why=f"not looked at: {', '.join(unseen)}"),)
        where = "; ".join(differences(self._before, after))
        return (check(name, holds=not where, why=where),)

    def _keep(self, name: str, state: Mapping[str, Any]) -> None:
        with suppress(OSError):  # a full disk takes the file, not the heal
            self.evidence_file(name).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def revive_agent(self) -> None:
        """Start a new agent if the old one died; it replays the journal first."""
        with self._reviving:
            if not self.client.alive:
                self.client.close()
                self.client = self._start_agent()

    # ------------------------------------------------------------ the agent

    def _start_agent(self) -> AgentClient:
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

    def _heard(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            injections = list(self._in_force)
        for injection in injections:
            if event["event"] == "gone":
                injection.alarm(str(event["why"]))
            elif event["event"] == "undone":
                injection.undone(event)
            elif event["event"] == "undo failed" and event["name"].startswith(f"{injection.name}."):
                injection.alarm(f"the agent could not undo it: {event['why']}")

    def _kernel(self) -> dict[str, Any]:
        nodes = [node.name for node in self.topology().nodes]
        return dict(self.client.ask("kernel", ASK_S, nodes=nodes)["kernel"])

    # ------------------------------------------------------------ bare paths

    def _refresh(self) -> None:
        while not self._closing.wait(REFRESH_S):
            with self._lock:
                quiet = not self._in_force and self.client.alive
            if not quiet:
                continue
            try:
                self._learn(10, 20.0)
            except HarnessError:  # an agent that died: the next injection starts a new one, and says so if it can't
                continue

    def _learn(self, packets: int, per_s: float) -> None:
        names = [node.name for node in self.topology().nodes]
        pairs = [(a, b) for a in names for b in names if a != b]
        if not pairs:
            return
        flows = probing.baseline_flows(pairs, packets, per_s)
        answer = self.client.ask("measure", packets / flows[0]["per_s"] + ASK_S, flows=flows, tail_s=0.2)
        with self._lock:
            if not self._in_force:  # a fault that began meanwhile has coloured them
                self.bare.add(probing.read_flows(answer).values())

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Heal what is in force, then end the agent. Idempotent; the lab is its opener's to close."""
        self._closing.set()
        with self._lock:
            injections = list(self._in_force)
        for future in [injection.heal() for injection in injections]:
            future.exception()  # waits; the injection has told its story in its events
        self._refreshing.join()
        self.client.close()


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


def not_looked_at(*states: Mapping[str, Any]) -> list[str]:
    """Name what no program could tell of, in any of these states: the kinds whose program is not installed."""
    parts = [part for state in states for part in state.values()]
    return sorted({kind for part in parts for kind, found in part.items() if found is None})


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Name what differs between two states of chaos/agent/kernel.py: where, which kind, the lines gone and new."""
    found = []
    for part, state in before.items():
        for kind, old in state.items():
            new = after.get(part, {}).get(kind)
            if new != old:
                found.append(f"{part or 'hub'} {kind}: {_apart(old, new)}")
    return found


def _apart(old: Any, new: Any) -> str:
    was, now = _lines(old), _lines(new)
    return f"gone {[x for x in was if x not in now]}, new {[x for x in now if x not in was]}"


def _lines(value: Any) -> list[str]:
    return value.splitlines() if isinstance(value, str) else [str(one) for one in value or ()]


def _node_action(action: Action) -> NodeAction:
    if isinstance(action, StackAction):
        raise CapabilityError(f"{action.operation} is an operation of the stack, not of a node")
    return action
