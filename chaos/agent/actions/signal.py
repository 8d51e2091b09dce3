"""SIGKILL or SIGSTOP to the stack's processes of a node; the undo is their start, or SIGCONT.

KILL ─▶ ended by signal 9 ─▶ revive: the recorded command, a new pid
STOP ─▶ state T           ─▶ CONT: the same pid goes on
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.agent import processes
from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import Signal


def prepare(ground: Ground, name: str, subject: str, action: Signal) -> dict[str, Any]:
    """Remember which processes run now and where they listen; AgentError if there is nothing to hit."""
    if action.signal not in ("KILL", "STOP"):
        raise AgentError(f"{name}: no undo is known for SIG{action.signal}; use KILL or STOP")
    running = running_processes(ground, subject, action.process)
    if not running:
        raise AgentError(f"{name}: no running process {action.process!r} on {subject}: there is nothing to hit")
    ports = processes.listening([p["pid_lab"] for p in running])
    return {
        "name": name,
        "subject": subject,
        "process": action.process,
        "signal": action.signal,
        "processes": running,
        "ports": ports,
    }


def apply(ground: Ground, undo: Mapping[str, Any], action: Signal) -> None:
    """Send the signal."""
    request = {"op": "signal", "name": undo["process"], "signal": action.signal}
    effect("signal.apply", lambda: ground.node_call(undo["subject"], request))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Start again what was killed, or let go on what was stopped; content if it runs."""
    if undo["signal"] == "KILL":
        request = {"op": "revive", "name": undo["process"]}
    else:
        request = {"op": "signal", "name": undo["process"], "signal": "CONT"}
    effect("signal.undo", lambda: ground.node_call(undo["subject"], request))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the node's init says of its processes now, and the kernel's view of each."""
    return look(ground, undo["subject"], undo["process"])


def running_processes(ground: Ground, subject: str, process: str) -> list[dict[str, Any]]:
    """Return the stack's running processes of a node, as its init lists them."""
    return [p for p in _listed(ground, subject, process) if p["exit_code"] is None]


def look(ground: Ground, subject: str, process: str) -> dict[str, Any]:
    """Return {"processes": […]}, each with "stat" from the kernel (None: gone)."""
    listed = _listed(ground, subject, process)
    return {"processes": [{**p, "stat": processes.stat(p["pid_lab"])} for p in listed]}


def _listed(ground: Ground, subject: str, process: str) -> list[dict[str, Any]]:
    listed = ground.node_call(subject, {"op": "ps"})["processes"]
    return [p for p in listed if not process or p["name"] == process]
