"""The node loses power: its link first, so that nobody hears a RST, then every process at once.

    port down ─▶ SIGKILL to the node's init ─▶ the kernel ends all of its PID namespace
    heal: port up ─▶ boot: a fresh init starts again what was running

Unsynced writes survive in the page cache, unless the node's files are served by a disk of ours and are to lose them:
then it puts back what was synced last, once nobody is left to write, and before anybody starts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.agent import disks, processes
from chaos.agent.actions.signal import running_processes
from chaos.agent.ground import has_carrier, inside, link_is_up, set_link
from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import Power


def prepare(ground: Ground, name: str, subject: str, action: Power) -> dict[str, Any]:
    """Remember the node's port and what runs on it; nothing is touched."""
    if action.unsynced_lost and not ground.place(subject).disk:
        raise AgentError(f"{name}: nothing of ours serves the files of {subject}, so unsynced writes can't be lost")
    running = running_processes(ground, subject, "")
    ports = processes.listening([p["pid_lab"] for p in running])
    place = ground.place(subject)
    kind = action.kind
    disk = place.disk if action.unsynced_lost else ""
    return {
        "name": name,
        "kind": kind,
        "subject": subject,
        "port": place.port,
        "processes": running,
        "ports": ports,
        "disk": bool(disk),
    }


def apply(ground: Ground, undo: Mapping[str, Any], action: Power) -> None:
    """Cut the link, then the power."""
    effect(f"{action.kind}.link", lambda: _set_port(ground, undo["port"], up=False))
    effect(f"{action.kind}.off", lambda: ground.lab_call({"op": "poweroff", "node": undo["subject"]}))
    if action.unsynced_lost:
        effect(f"{action.kind}.lose", lambda: disks.ask(ground.place(undo["subject"]).disk, {"op": "off"}))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Plug the link in and boot; content if the node is up."""
    if undo.get("disk"):
        effect("power.disk", lambda: disks.ask(ground.place(undo["subject"]).disk, {"op": "on"}))
    effect("power.plug", lambda: _set_port(ground, undo["port"], up=True))
    if not ground.lab_call({"op": "nodes"})["nodes"][undo["subject"]]["up"]:
        effect("power.boot", lambda: ground.lab_call({"op": "boot", "node": undo["subject"]}))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return carrier and port, whether the node is up, and what is left of its processes (or runs again)."""
    node = undo["subject"]
    up = bool(ground.lab_call({"op": "nodes"})["nodes"][node]["up"])
    now = running_processes(ground, node, "") if up else list(undo["processes"])
    with inside(ground.hub_netns):
        port_up = link_is_up(undo["port"])
    return {
        "processes": [{**p, "stat": processes.stat(p["pid_lab"])} for p in now],
        "disk": disks.ask(ground.place(node).disk, {"op": "state"}) if undo.get("disk") else None,
        "node_up": up,
        "port_up": port_up,
        "carrier": has_carrier(ground.place(node).netns, "eth0"),
    }


def _set_port(ground: Ground, port: str, *, up: bool) -> None:
    with inside(ground.hub_netns):
        set_link(port, up=up)
