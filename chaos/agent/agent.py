"""The agent proper: actions in force, each with its undo on disk and its dead-men.

    inject: prepare ─▶ journal ─▶ hold (deadline runs) ─▶ apply          heal: undo ─▶ forget
                                        ▲ apply failed: undo at once         ▲ also when a dead-man says so

Every request has a thread of its own, so a measurement of five seconds delays neither heartbeat nor heal.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.agent import kernel, processes
from chaos.agent.actions import ACTIONS
from chaos.agent.journal import Record
from chaos.agent.lease import NS, Hold, Lease, boot_ns, ends, next_ns
from chaos.errors import AgentError
from chaos.model import NodeAction, node_action

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.agent.ground import Ground
    from chaos.agent.journal import Journal
    from chaos.agent.metering import Metering

RETRY_S = 1.0  # between attempts at an undo that fails


@dataclass(slots=True, kw_only=True)
class InForce:
    """One action and all that is needed to watch and to end it."""

    record: Record
    action: NodeAction
    hold: Hold
    lock: threading.Lock = field(default_factory=threading.Lock)


class Agent:
    """Answers requests; `tell` sends unsolicited events."""

    def __init__(
        self, ground: Ground, journal: Journal, meter: Metering, lease_s: float, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self.ground, self.journal, self.meter, self.tell = ground, journal, meter, tell
        self._lease_ns = round(lease_s * NS)
        self._lease = Lease(until_ns=boot_ns() + self._lease_ns)
        self._held: dict[str, InForce] = {}
        self._healed: set[str] = set()  # names asked to be healed: what comes too late must not begin after its heal
        self._changed = threading.Condition()
        self.answers: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "inject": self.inject,
            "heal": self.heal,
            "observe": self.observe,
            "measure": self.measure,
            "ports": self.ports,
            "kernel": self.kernel,
            "gone": self.gone,
            "clock": lambda _: {"now_ns": time.monotonic_ns()},
            "state": self.state,
            "beat": self.beat,
        }

    # ------------------------------------------------------------ requests

    def inject(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out {name, subject, action, deadline_s}; AgentError if refused, and then nothing is in force."""
        name, subject = str(request["name"]), str(request["subject"])
        action = node_action(request["action"])
        kind = ACTIONS[action.kind]
        with self._changed:
            if name in self._held:
                raise AgentError(f"{name}: an action of that name is in force; heal it first")
        undo = kind.prepare(self.ground, name, subject, action)
        record = Record(name=name, kind=action.kind, undo=undo)
        self.journal.write(record)
        held = self._hold(record, action, float(request["deadline_s"]))
        try:
            with held.lock:  # an undo waits until the effect is whole
                self._refuse_late(name)
                kind.apply(self.ground, undo, action)
        except Exception:  # whatever it was, the half-done must be taken back before anybody hears of it
            self._undo(name)
            raise
        return {"applied_ns": time.monotonic_ns(), "undo": dict(undo)}

    def heal(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Undo {name}; "found" is false if nothing of that name was in force."""
        name = str(request["name"])
        with self._changed:
            self._healed.add(name)
        found = self._undo(name)
        return {"found": found, "undone_ns": time.monotonic_ns()}

    def observe(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Look at the action {name} of {undo} (as inject returned it), in force or not."""
        kind, undo = ACTIONS[str(request["kind"])], request["undo"]
        with self._changed:
            in_force = str(undo["name"]) in self._held
        gone = self.ground.is_gone(str(undo["subject"]))
        seen = {"processes": [], "gone": True} if gone else kind.observe(self.ground, undo)
        return {**seen, "in_force": in_force, "at_ns": time.monotonic_ns()}

    def measure(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send {flows} (flow.Asked), wait {tail_s}, write the packets to {capture}; return the meter's answer.

        Instead of flows: {listen} to those of other machines, or {collect} what came of them. "ports" is where the
        meter listens: another one than before heard nothing of what was sent to that.
        """
        seconds = max((flow["packets"] / flow["per_s"] for flow in request.get("flows", ())), default=0.0)
        body = {key: request[key] for key in ("flows", "listen", "collect", "tail_s", "capture") if key in request}
        told = self.meter.ask(body, seconds + float(request.get("tail_s", 0.0)))
        return {**told, "ports": self.meter.ports}

    def ports(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Connect from {source} to each of {ports} on {sink}."""
        source, sink = self.ground.place(str(request["source"])), self.ground.place(str(request["sink"]))
        wanted = [int(port) for port in request["ports"]]
        with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
            return {"ports": list(pool.map(lambda port: processes.check_port(source, sink, port), wanted))}

    def kernel(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the network state of the hub and of those of {nodes} that are here."""
        there = [str(node) for node in request["nodes"] if not self.ground.is_gone(str(node))]
        return {"kernel": kernel.state(self.ground, there)}

    def gone(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Return the pods of this machine that are here no more."""
        return {"gone": [name for name in self.ground.places if self.ground.is_gone(name)]}

    def state(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is in force, and whether shaper and meter live."""
        with self._changed:
            held = {name: one.action.kind for name, one in self._held.items()}
        shaper = self.ground.opened
        return {
            "in_force": held,
            "shaper": dict(shaper.state()) if shaper else None,
            "meter": {"alive": self.meter.alive, "realtime": self.meter.realtime},
        }

    def beat(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Renew the lease."""
        with self._changed:
            self._lease = Lease(until_ns=boot_ns() + self._lease_ns, closed=self._lease.closed)
        return {}

    # ------------------------------------------------------------ dead-men

    def close(self) -> None:
        """Note that the controller is gone: only what cuts its own control path may stay, until its deadline."""
        with self._changed:
            self._lease = Lease(until_ns=0, closed=True)
            self._changed.notify_all()

    def watch(self) -> None:
        """Undo what is due, again and again; return when the controller is gone and nothing is in force."""
        while True:
            with self._changed:
                if self._lease.closed and not self._held:
                    return
                holds = [one.hold for one in self._held.values()]
                due = {h.name: why for h in holds if (why := ends(h, self._lease, boot_ns()))}
                if not due:
                    self._changed.wait(self._pause_s(holds))
                    continue
            failed = [name for name, why in due.items() if not self._undo_because(name, why)]
            if failed:
                threading.Event().wait(RETRY_S)

    def _pause_s(self, holds: list[Hold]) -> float | None:
        at_ns = next_ns(holds, self._lease)
        return None if at_ns is None else max(0.0, (at_ns - boot_ns()) / NS)

    def _undo_because(self, name: str, why: str) -> bool:
        try:
            if self._undo(name):
                self.tell({"event": "undone", "name": name, "why": why, "at_ns": time.monotonic_ns()})
        except Exception as error:  # noqa: BLE001 - a dead-man goes on trying, whatever stands in its way
            self.tell({"event": "undo failed", "name": name, "why": f"{why}; {error}"})
            return False
        return True

    # ------------------------------------------------------------ what is in force

    def _refuse_late(self, name: str) -> None:
        with self._changed:
            late = name in self._healed or name not in self._held or self._lease.closed
        if late:
            raise AgentError(f"{name}: it was healed, or its time was over, before it began; nothing of it is in force")

    def _hold(self, record: Record, action: NodeAction, deadline_s: float) -> InForce:
        hold = Hold(name=record.name, deadline_ns=boot_ns() + round(deadline_s * NS), cuts_control=action.cuts_control)
        held = InForce(record=record, action=action, hold=hold)
        with self._changed:
            self._held[record.name] = held
            self._changed.notify_all()
        return held

    def _undo(self, name: str) -> bool:
        with self._changed:
            held = self._held.get(name)
        if held is None:
            return False
        with held.lock:
            if name not in self._held:  # the other one was faster
                return False
            ACTIONS[held.record.kind].undo(self.ground, held.record.undo)
            self.journal.forget(name)
            with self._changed:
                del self._held[name]
                self._changed.notify_all()
        return True
