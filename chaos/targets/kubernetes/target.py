"""Pods of a cluster as a Target: an agent on each of their machines, and every fault measured.

    engine ── inject ──▶ KubernetesTarget ──▶ Fleet ── exec ──▶ agent on node1 ──▶ shaper, signals, cgroups of pods
                                                   └── exec ──▶ agent on node2 …

What is killed is started again by the kubelet, in its own time: how long it was down is seen, not chosen.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from chaos.errors import AgentError, TargetError
from chaos.model import Topology
from chaos.targets.agents.mechanisms import Means
from chaos.targets.agents.target import ASK_S, AgentTarget
from chaos.targets.kubernetes import install
from chaos.targets.kubernetes.fleet import Fleet
from chaos.targets.kubernetes.pods import find, machines_of
from chaos.targets.kubernetes.safety import Ownership, refuse_unmeant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Aimed
    from chaos.targets.agents.client import AgentClient
    from chaos.targets.agents.injection import MeasuredInjection
    from chaos.targets.kubernetes.access import Access

LEASE_S = 10.0
GREETED_AT_ONCE = 8
SHAPER = "tap"  # the one that leaves nothing behind when its container is killed, and cuts peers on other machines
BACK_S = 90.0  # for a kubelet to start a container again: at once, then after 10 s, 20 s, 40 s (CrashLoopBackOff)


class KubernetesTarget(AgentTarget):
    """Pods that are there already, found by namespace and label selectors. Use `open_kubernetes`."""

    name = "kubernetes"
    holds_down = False
    back_s = BACK_S

    def __init__(
        self,
        access: Access,
        namespace: str,
        roles: Mapping[str, str],
        evidence: Path,
        *,
        lease_s: float = LEASE_S,
        unlabelled: bool = False,
    ) -> None:
        super().__init__(evidence)
        refuse_unmeant(access, namespace, unlabelled=unlabelled)
        self.access = access
        self._namespace, self._roles = namespace, dict(roles)
        self._lease_s = lease_s
        self._greetings: dict[str, dict[str, Any]] = {}
        self._lost_why = ""
        self.pods = find(access, namespace, roles)
        with ExitStack() as undo:
            self._ownership = Ownership(access, namespace, self._lost)
            undo.callback(self._ownership.release)
            self.client = self._start_agents()
            undo.callback(self.client.close)
            self._begin()
            self._refuse_deaf()
            undo.pop_all()

    def _refuse_deaf(self) -> None:
        """Raise TargetError for a path that carries nothing of ours: no fault on it could be told from none."""
        names = [pod.name for pod in self.pods]
        deaf = [f"{a}→{b}" for a in names for b in names if a != b and not self.bare.of(a, b).received]
        if deaf:
            would = "does a NetworkPolicy forbid UDP between them? Allow it while experiments run"
            raise TargetError(f"packets of ours don't arrive: {', '.join(deaf)}; {would}")

    def close(self) -> None:
        """Heal what is in force, end the agents, and let others have the namespace. Idempotent."""
        super().close()
        self._ownership.release()

    def topology(self) -> Topology:
        """Return the pods as nodes; no power and no disks, which are the cluster owner's."""
        return Topology(nodes=tuple(pod.node for pod in self.pods), capabilities=frozenset({"freeze"}))

    def inject(self, aimed: Sequence[Aimed], *, deadline_s: float) -> MeasuredInjection:
        """Do all of a step together, on the pods that there are now; AgentError if any of it is refused."""
        if self._lost_why:
            raise AgentError(f"namespace {self._namespace} is no longer ours: {self._lost_why}; nothing was touched")
        self._find_anew()
        return super().inject(aimed, deadline_s=deadline_s)

    def _find_anew(self) -> None:
        """Take pods for nodes that have come in the place of others; while something is in force, those that were."""
        found = find(self.access, self._namespace, self._roles)
        with self._lock:
            if self._in_force or not self.client.alive or found == self.pods:
                return
            before, self.pods = self.pods, found
            if set(machines_of(found)) <= set(machines_of(before)):
                self._fleet.settle(found)
            else:
                self.client.close()
                self.client = self._start_agents()
            self.bare.forget({pod.name for pod in {*before} ^ {*found}})
            self._learn(40, 80.0)
            self._before = self._kernel()

    def _comparable(self, after: Mapping[str, Any]) -> Mapping[str, Any]:
        """Leave out pods that are gone: their networks went with them."""
        return {name: state for name, state in self._before.items() if name in after}

    def absent(self) -> frozenset[str]:
        """Return the pods that are gone from their machines."""
        return frozenset(self.client.ask("gone", ASK_S)["gone"])

    def describe(self) -> Mapping[str, Any]:
        """Return context, version, and each machine's shaper and meter."""
        return {
            "target": self.name,
            "context": self.access.context,
            "server": self.access.server,
            "kubernetes": self.access.version,
            "namespace": self._namespace,
            "machines": {
                machine: {"shaper": self._fleet.shapers.get(machine), "meter": told["meter"]}
                for machine, told in self._greetings.items()
            },
            "lease_s": self._lease_s,
            "kill": "what is killed is started again by the kubelet; how long it was down is seen, not chosen",
        }

    # ------------------------------------------------------------ AgentTarget

    def _lost(self, why: str) -> None:
        """Somebody else may act on these pods now: what is in force must not count, nor stay."""
        self._lost_why = why
        self._heard({"event": "gone", "why": f"namespace {self._namespace} is no longer ours: {why}"})
        with self._lock:
            injections = list(self._in_force)
        for injection in injections:
            injection.heal()

    def _start_agents(self) -> Fleet:
        """Say hello to all at once: each takes a Python's start. Of pods that were replaced, the new ones count."""
        if self._greetings:
            self.pods = find(self.access, self._namespace, self._roles)
        pods = install.agent_pods(self.access, machines_of(self.pods))
        with ThreadPoolExecutor(max_workers=GREETED_AT_ONCE) as pool:
            coming = {machine: pool.submit(self._greeted, pod) for machine, pod in pods.items()}
        came = {machine: future.result() for machine, future in coming.items() if not future.exception()}
        fleet = Fleet({machine: client for machine, (client, _) in came.items()})
        try:
            for future in coming.values():
                future.result()
            fleet.settle(self.pods)
        except BaseException as error:
            fleet.close()
            if isinstance(error, AgentError):
                raise TargetError(str(error)) from error
            raise
        self._greetings = {machine: told for machine, (_, told) in came.items()}
        return fleet

    def _greeted(self, pod: str) -> tuple[AgentClient, dict[str, Any]]:
        return install.greet(self.access, pod, lease_s=self._lease_s, shaper=SHAPER, heard=self._heard)

    @property
    def _fleet(self) -> Fleet:
        assert isinstance(self.client, Fleet)
        return self.client

    def _means(self) -> Means:
        shapers = self._fleet.shapers
        without = [machine for machine, told in shapers.items() if not told["backend"]]
        why = "; ".join(f"{name}: {text}" for one in without[:1] for name, text in shapers[one]["why"].items() if text)
        reasons = {
            "shaper": f"no shaper works on {', '.join(without)} ({why}); any one of them would do" if without else "",
            "disk": "the files of a cluster's pods are served by its own volumes, not by us",
            "clock": "the clock of a cluster's machines is not ours to set",
            "power": "a cluster's machines are not ours to switch off",
        }
        backends = sorted({str(told["backend"]) for told in shapers.values()})
        return Means(
            freezer="SIGSTOP to every process of the pod",
            there={"shaper": "+".join(backends), "quota": "the pod's CPU quota", "disk": "", "clock": "", "power": ""},
            why_not={what: reason for what, reason in reasons.items() if reason},
        )


@contextmanager
def open_kubernetes(
    access: Access, namespace: str, roles: Mapping[str, str], *, evidence: Path, **more: Any
) -> Iterator[KubernetesTarget]:
    """Open the pods of a namespace, by role → label selector; at the end everything is healed, and the agents end."""
    with ExitStack() as stack:
        target = KubernetesTarget(access, namespace, roles, evidence, **more)
        stack.callback(target.close)
        yield target
