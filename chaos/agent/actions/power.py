"""The node loses power: its link first, so that nobody hears a RST, then every process at once.

    port down ─▶ SIGKILL to the node's init ─▶ the kernel ends all of its PID namespace
    heal: port up ─▶ boot: a fresh init starts again what was running

Unsynced writes survive in the page cache: this is a loss of power to the processes, not to the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.agent import processes
from chaos.agent.actions.signal import running_processes
from chaos.agent.ground import has_carrier, inside, link_is_up, set_link
from chaos.agent.points import effect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import Power


def prepare(ground: Ground, name: str, subject: str, action: Power) -> dict[str, Any]:
    """Remember the node's port and what runs on it; nothing is touched."""
    running = running_processes(ground, subject, "")
    ports = processes.listening([p["pid_lab"] for p in running])
    place = ground.place(subject)
    kind = action.kind
    return {"name": name, "kind": kind, "subject": subject, "port": place.port, "processes": running, "ports": ports}


def apply(ground: Ground, undo: Mapping[str, Any], action: Power) -> None:
    """Cut the link, then the power."""
    effect(f"{action.kind}.link", lambda: _set_port(ground, undo["port"], up=False))
    effect(f"{action.kind}.off", lambda: ground.lab_call({"op": "poweroff", "node": undo["subject"]}))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Plug the link in and boot; content if the node is up."""
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
        "node_up": up,
        "port_up": port_up,
        "carrier": has_carrier(ground.place(node).netns, "eth0"),
    }


def _set_port(ground: Ground, port: str, *, up: bool) -> None:
    with inside(ground.hub_netns):
        set_link(port, up=up)
