"""The agent's side of a shaper whose packets pass through a daemon (backends tap and nfqueue)."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from chaos.agent.shaper.child import Child
from chaos.agent.shaper.cut import Cuts
from chaos.agent.shaper.keeper import Keeper
from chaos.agent.shaper.kernel import run
from chaos.agent.shaper.pipelines import CHAIN, chain, pipelines, refuse
from chaos.agent.shaper.values import ShaperError, rules_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.agent.shaper.values import Port, Rule

END_TIMEOUT_S = 10.0  # a daemon that is killed instead leaves nothing in force either
DAEMON = "chaos.agent.shaper.daemon"
MANGLE = ("iptables", "-t", "mangle")
RESTORE = ("iptables-restore", "--noflush")
LIST_TABLE, DELETE_TABLE = ("nft", "list", "table", "ip", "mangle"), ("nft", "delete", "table", "ip", "mangle")
EMPTY_CHAIN = f"*mangle\n:{CHAIN} - [0:0]\nCOMMIT\n"


class DaemonShaper:
    """Rules are put into force by one message; in `tap` that is all there is to do."""

    def __init__(self, ports: Sequence[Port], backend: str) -> None:
        self.backend = backend
        self._ports = {port.node: port for port in ports}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._daemon = Child(DAEMON, (fd for port in ports for fd in (port.hub_netns, port.node_netns)))
        try:
            opened = self._daemon.ask({"backend": backend, "ports": [asdict(port) for port in ports]})
        except ShaperError:
            self._daemon.end(END_TIMEOUT_S)
            raise
        self.realtime: bool = opened["realtime"]
        self._watchdog: int = opened["watchdog"]

    def set(self, node: str, rules: Sequence[Rule]) -> None:
        """Replace everything in force on `node`; ShaperError."""
        check_node(node, self._ports)
        with self._lock:
            self._put(node, tuple(rules))
            self._rules[node] = tuple(rules)

    def _put(self, node: str, rules: tuple[Rule, ...]) -> None:
        self._daemon.ask({"op": "set", "node": node, "rules": rules_to_json(rules)})

    def state(self) -> Mapping[str, Any]:
        """Return backend, alive, pids, real-time priority, and counters a node (empty if the daemon is gone)."""
        nodes: Mapping[str, Any] = {}
        why = ""
        try:
            nodes = self._daemon.ask({"op": "state"})["nodes"]
        except ShaperError as error:
            why = str(error)
        return {
            "backend": self.backend,
            "alive": self._daemon.alive and not why,
            "why": why,
            "pids": {"daemon": self._daemon.pid, "watchdog": self._watchdog},
            "realtime": self.realtime,
            "nodes": nodes,
        }

    def close(self) -> None:
        """Back to the kernel's path, release what is held, detach. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._daemon.end(END_TIMEOUT_S)


def check_node(node: str, ports: Mapping[str, Port]) -> None:
    """Raise ShaperError for a node without a port."""
    if node not in ports:
        raise ShaperError(f"no port of a node {node!r}; there are {', '.join(sorted(ports)) or 'none'}")


class QueueShaper(DaemonShaper):
    """nfqueue: the daemon decides, iptables sends packets to it, nft cuts, and a keeper takes all that back."""

    def __init__(self, ports: Sequence[Port]) -> None:
        self._keeper = Keeper(port.node_netns for port in ports)
        self._cuts = Cuts(ports, self._keeper)
        self._chains: dict[str, str] = {}
        try:
            super().__init__(ports, "nfqueue")
        except ShaperError:
            self._keeper.close()
            raise

    def _put(self, node: str, rules: tuple[Rule, ...]) -> None:
        refuse(rules, tuple(self._ports.values()))
        super()._put(node, rules)
        wanted = {**self._rules, node: rules}
        for port in self._ports.values():
            self._send_to_queues(port, wanted)
        self._cuts.set(wanted)

    def _send_to_queues(self, port: Port, rules: Mapping[str, tuple[Rule, ...]]) -> None:
        ports = tuple(self._ports.values())
        plan = pipelines(rules, ports, port)
        wanted = chain(plan, ports) if any(plan.values()) else ""
        if wanted == self._chains.get(port.node, ""):
            return
        if port.node not in self._chains:
            self._hook(port)
        run(port.node_netns, RESTORE, wanted or EMPTY_CHAIN)
        self._chains[port.node] = wanted

    def _hook(self, port: Port) -> None:
        jump = ("PREROUTING", "-i", port.node_ifname, "-j", CHAIN)
        before = run(port.node_netns, LIST_TABLE, accept=(0, 1))
        if not before:  # nor shall it be there afterwards
            self._keeper.keep(port.node_netns, DELETE_TABLE, unless=LIST_TABLE)
        if "chain PREROUTING" not in before:
            self._keeper.keep(port.node_netns, (*MANGLE, "-X", "PREROUTING"))
        for undo in (("-X", CHAIN), ("-F", CHAIN), ("-D", *jump)):  # carried out newest first
            self._keeper.keep(port.node_netns, (*MANGLE, *undo))
        run(port.node_netns, RESTORE, EMPTY_CHAIN)
        run(port.node_netns, (*MANGLE, "-A", *jump))

    def state(self) -> Mapping[str, Any]:
        """Return what the daemon says, and the keeper's pid."""
        said = super().state()
        return {
            **said,
            "alive": said["alive"] and self._keeper.alive,
            "pids": {**said["pids"], "keeper": self._keeper.pid},
        }

    def close(self) -> None:
        """Rules off, release what is held, let go. Idempotent.

        In this order: when a hook goes, the kernel drops what is queued anywhere in its namespace.
        """
        with contextlib.suppress(ShaperError):  # the keeper takes back what this could not
            for node in () if self._closed else tuple(self._rules):
                self.set(node, ())
        super().close()
        self._keeper.close()
