"""A node's disk gets slow, faulty or full: a rule of the program that serves the node's files.

add ─▶ in force at once, for a share of the operations of some kinds      remove ─▶ gone at once

Whether it is there is measured by operations of our own on that disk (chaos/agent/disks.py), against as many that were
made before.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chaos.agent import disks, processes
from chaos.agent.actions.signal import running_processes
from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import DiskFault

BARE = 60  # trials before the fault


def prepare(ground: Ground, name: str, subject: str, action: DiskFault) -> dict[str, Any]:
    """Try the disk as it is; AgentError if the node has none of ours, or runs nothing."""
    place = ground.place(subject)
    if not place.disk:
        raise AgentError(f"{name}: nothing of ours serves the files of {subject}")
    running = running_processes(ground, subject, "")
    if not running:
        raise AgentError(f"{name}: nothing runs on {subject}: what its disk does would be seen by nobody")
    state = disks.ask(place.disk, {"op": "state"})
    if others := [one for one, fault in state["faults"].items() if set(fault["ops"]) & set(action.ops)]:
        raise AgentError(f"{name}: {others[0]} is in force on the disk of {subject}; its bare times can't be taken")
    return {
        "name": name,
        "subject": subject,
        "processes": running,
        "bare": disks.trials(place.folder, action.ops, BARE),
        "ops": list(action.ops),
        "trials": action.trials,
        "workers": action.workers,
    }


def apply(ground: Ground, undo: Mapping[str, Any], action: DiskFault) -> None:
    """Add the rule."""
    fault = {
        "ops": list(action.ops),
        "share": action.share,
        "delay_ns": round(action.delay_s * 1e9),
        "errno": getattr(errno, action.error) if action.error else 0,
    }
    request = {"op": "add", "name": undo["name"], "fault": fault, "seed": action.seed}
    effect("disk.apply", lambda: disks.ask(ground.place(undo["subject"]).disk, request))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Remove the rule; content if there is none, or nobody who could hold one."""
    request = {"op": "remove", "name": undo["name"]}
    with suppress(disks.DiskGoneError):
        effect("disk.undo", lambda: disks.ask(ground.place(undo["subject"]).disk, request))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the disk's own state, and trials of ours: {"state" (null: it does not answer), "trials", "processes"}."""
    place = ground.place(undo["subject"])
    running = ground.node_call(undo["subject"], {"op": "ps"})["processes"]
    found: dict[str, Any] = {"processes": [{**p, "stat": processes.stat(p["pid_lab"])} for p in running]}
    try:
        state = disks.ask(place.disk, {"op": "state"})
        return {**found, "state": state, "trials": _trials(place.folder, undo)}
    except AgentError as error:
        return {**found, "state": None, "why": str(error), "trials": {}}


def _trials(folder: str, undo: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    return disks.trials(folder, undo["ops"], undo["trials"], undo["workers"])
