"""The agents of several machines, spoken to as one.

    inject, observe, heal, ports ──▶ the agent of the pod's machine
    measure ──▶ each flow to the agent of its machine; between two: one listens, the other sends, the first tells
    kernel  ──▶ to each for its own pods

A half that is missing is an error and no silence. A delay between two machines is judged against the same path's own
before the fault (chaos/fidelity.py), measured by the same two clocks, whatever they say. When something happened is
told by the clock of its machine, and translated into ours: right to half of the quickest round trip.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from chaos.agent.flow import SHARED_FROM
from chaos.errors import AgentError
from chaos.jsonlines import answered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.jsonlines import Said
    from chaos.targets.agents.client import AgentClient
    from chaos.targets.kubernetes.pods import Pod

SPARE_S = 5.0  # beyond what sending takes, for three questions
PLACE_S = 60.0
CLOCK_TRIES, CLOCK_S = 5, 10.0
TIMES = ("applied_ns", "undone_ns", "at_ns", "started_ns", "ended_ns")


class Fleet:
    """Agents by machine; `settle` says which pods are where before anything else is asked."""

    def __init__(self, agents: Mapping[str, AgentClient]) -> None:
        self._agents = dict(agents)
        self._pods: dict[str, Pod] = {}
        self._ports: dict[str, list[int]] = {}
        self._numbers = SHARED_FROM
        self._injected: dict[str, str] = {}  # name of an action → machine
        self._ahead_ns: dict[str, int] = {}  # by how much a machine's clock is ahead of ours
        self.shapers: dict[str, Mapping[str, Any]] = {}

    # ------------------------------------------------------------ places

    def settle(self, pods: Sequence[Pod]) -> None:
        """Let every agent know the pods of its own machine, and the addresses of the others; AgentError."""
        if lost := sorted({pod.machine for pod in pods} - set(self._agents)):
            raise AgentError(f"no agent on {', '.join(lost)}")
        asked = {
            machine: agent.send("places", nodes=[placed(pod, machine) for pod in pods])
            for machine, agent in self._agents.items()
        }
        for machine, future in asked.items():
            told = self._answer(machine, "places", future, PLACE_S)
            self.shapers[machine] = told["shaper"]
            self._ports.update(told["ports"])
        self._pods = {pod.name: pod for pod in pods}
        self._ahead_ns = {machine: ahead(agent) for machine, agent in self._agents.items()}

    def machine_of(self, pod: str) -> str:
        """Return where a pod is; AgentError if it is none of ours."""
        if pod not in self._pods:
            raise AgentError(f"no pod {pod!r} here; known: {', '.join(sorted(self._pods))}")
        return self._pods[pod].machine

    # ------------------------------------------------------------ Agents

    @property
    def alive(self) -> bool:
        """Tell whether every agent can still answer."""
        return all(agent.alive for agent in self._agents.values())

    def ask(self, op: str, timeout_s: float, **arguments: Any) -> Said:
        """Ask whom it concerns, and wait; AgentError if one refuses, is late or gone."""
        if op == "measure":
            return self._measure(timeout_s, **arguments)
        if op == "kernel":
            return self._kernel(timeout_s, arguments["nodes"])
        if op == "gone":
            asked = {machine: agent.send("gone") for machine, agent in self._agents.items()}
            told = [self._answer(machine, "gone", future, timeout_s) for machine, future in asked.items()]
            return {"gone": sorted({name for one in told for name in one["gone"]})}
        return self.wait(op, self.send(op, **arguments), timeout_s)

    def send(self, op: str, **arguments: Any) -> Future[Said]:
        """Ask one agent without waiting; that there is none is an answer, too."""
        told: Future[Said] = Future()
        try:
            machine = self._concerned(op, arguments)
        except AgentError as error:
            told.set_result({"error": str(error)})
            return told
        asked = self._agents[machine].send(op, **arguments)
        asked.add_done_callback(lambda one: told.set_result(in_our_time(one.result(), self._ahead_ns.get(machine, 0))))
        return told

    def wait(self, op: str, future: Future[Said], timeout_s: float) -> Said:
        """Return the answer; AgentError if refused, late or gone."""
        return answered(f"agent: {op}", future, timeout_s)

    def close(self) -> None:
        """Let all undo everything and end, at the same time. Idempotent."""
        with ThreadPoolExecutor(max_workers=max(1, len(self._agents))) as pool:
            list(pool.map(lambda agent: agent.close(), self._agents.values()))

    def _concerned(self, op: str, arguments: Mapping[str, Any]) -> str:
        if op == "inject":
            machine = self.machine_of(arguments["subject"])
            self._injected[arguments["name"]] = machine
            return machine
        if op == "heal":
            return self._injected.get(arguments["name"], next(iter(self._agents)))
        if op == "observe":
            return self.machine_of(arguments["undo"]["subject"])
        if op == "ports":
            return self.machine_of(arguments["source"])
        raise AgentError(f"{op}: nobody knows which agent it is for")

    def _answer(self, machine: str, op: str, future: Future[Said], timeout_s: float) -> Said:
        return answered(f"agent on {machine}: {op}", future, timeout_s)

    # ------------------------------------------------------------ several agents together

    def _kernel(self, timeout_s: float, nodes: Sequence[str]) -> Said:
        by_machine: dict[str, list[str]] = {}
        for node in nodes:
            by_machine.setdefault(self.machine_of(node), []).append(node)
        asked = {machine: self._agents[machine].send("kernel", nodes=own) for machine, own in by_machine.items()}
        found: dict[str, Any] = {}
        for machine, future in asked.items():
            found |= self._answer(machine, "kernel", future, timeout_s)["kernel"]
        return {"kernel": found}

    def _measure(self, timeout_s: float, flows: Sequence[Mapping[str, Any]], tail_s: float, **_: Any) -> Said:
        """Let receivers listen, then senders send, then ask receivers what came: in this order, each answered.

        What is captured of packets would lie on their machines, so nothing is.
        """
        until = time.monotonic() + timeout_s + SPARE_S
        listened: dict[str, list[dict[str, Any]]] = {}
        sent: dict[str, list[dict[str, Any]]] = {}
        for flow in flows:
            source, sink = self.machine_of(flow["source"]), self.machine_of(flow["sink"])
            if source == sink:
                sent.setdefault(source, []).append(dict(flow))
                continue
            shared = {**flow, "number": self._number()}
            port = self._ports[flow["sink"]][1 if flow.get("unchecked") else 0]
            to = [self._pods[flow["sink"]].address, port]
            listened.setdefault(sink, []).append({**shared, "elsewhere": "source"})
            sent.setdefault(source, []).append({**shared, "elsewhere": "sink", "to": to})
        self._at_once({machine: {"listen": own} for machine, own in listened.items()}, until)
        told = self._at_once({machine: {"flows": own, "tail_s": tail_s} for machine, own in sent.items()}, until)
        numbers = {machine: [one["number"] for one in own] for machine, own in listened.items()}
        told += self._at_once({one: {"collect": own, "tail_s": tail_s} for one, own in numbers.items()}, until)
        return {"flows": joined([flow for answer in told for flow in answer["flows"]])}

    def _at_once(self, requests: Mapping[str, Mapping[str, Any]], until: float) -> list[Said]:
        """Ask several meters at the same time; AgentError, too, if one is not that whose ports are known."""
        asked = {machine: self._agents[machine].send("measure", **request) for machine, request in requests.items()}
        told = []
        for machine, future in asked.items():
            answer = self._answer(machine, "measure", future, max(0.0, until - time.monotonic()))
            if any(self._ports.get(name) != ports for name, ports in answer["ports"].items()):
                self._ports.update(answer["ports"])
                raise AgentError(
                    f"the meter on {machine} was started anew: what was sent to the old one came to nobody"
                )
            told.append(answer)
        return told

    def _number(self) -> int:
        self._numbers = SHARED_FROM if self._numbers + 1 >= 1 << 32 else self._numbers + 1  # a packet has room for that
        return self._numbers


def ahead(agent: AgentClient) -> int:
    """Return by how many ns an agent's CLOCK_MONOTONIC is ahead of ours, as the quickest of a few answers has it.

    F. Cristian, Probabilistic clock synchronization, Distributed Computing 3 (1989).
    """
    best: tuple[int, int] | None = None
    for _ in range(CLOCK_TRIES):
        sent_ns = time.monotonic_ns()
        told = answered("agent: clock", agent.send("clock"), CLOCK_S)
        came_ns = time.monotonic_ns()
        best = min(best or (came_ns - sent_ns, 0), (came_ns - sent_ns, told["now_ns"] - (sent_ns + came_ns) // 2))
    assert best is not None
    trip_ns, ahead_ns = best
    return 0 if abs(ahead_ns) <= trip_ns else ahead_ns  # one clock, for all that can be told


def in_our_time(said: Said, ahead_ns: int) -> Said:
    """Translate the times in an answer; what an undo says is the agent's own, and goes back to it."""
    if not ahead_ns:
        return said
    told = {key: value - ahead_ns if key in TIMES and value is not None else value for key, value in said.items()}
    if "processes" in said:
        told["processes"] = [in_our_time(row, ahead_ns) for row in said["processes"]]
    return told


def placed(pod: Pod, machine: str) -> dict[str, str]:
    """Return a pod as the agent of a machine is told of it."""
    return {"name": pod.name, "address": pod.address, "pod": pod.uid if pod.machine == machine else ""}


def joined(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join the halves of flows: the sender's word of what was sent, the receiver's of what arrived; AgentError."""
    whole = [dict(one) for one in told if not one["elsewhere"]]
    sent = {one["number"]: one for one in told if one["elsewhere"] == "sink"}
    came = {one["number"]: one for one in told if one["elsewhere"] == "source"}
    if odd := sorted(sent.keys() ^ came.keys()):
        ends = [(one["source"], one["sink"]) for one in told if one["number"] in odd and one["elsewhere"]]
        raise AgentError(f"only half of a flow was measured: {', '.join(f'{a}→{b}' for a, b in ends)}")
    return whole + [{**came[n], "sent": sent[n]["sent"], "refused": sent[n]["refused"]} for n in sent]
