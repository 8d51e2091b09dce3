"""Stop the whole node; none of its processes is told.

    cgroup.freeze ◀── 1      everything in the node's cgroup, its init too (Documentation/admin-guide/cgroup-v2.rst)
    else SIGSTOP by the init  everything but the init itself

A frozen init can't be asked anything, so what is to be watched is listed before the freeze.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.agent import processes
from chaos.agent.actions.signal import look, running_processes
from chaos.agent.groupfiles import own_file
from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import Freeze


def prepare(ground: Ground, name: str, subject: str, action: Freeze) -> dict[str, Any]:
    """Remember which processes run now and where they listen; AgentError if nothing runs."""
    running = running_processes(ground, subject, "")
    if not running:
        raise AgentError(f"{name}: nothing runs on {subject}: a {action.kind} would be seen by nobody")
    ports = processes.listening([p["pid_lab"] for p in running])
    freezer = ground.place(subject).freezer
    return {"name": name, "subject": subject, "freezer": freezer, "processes": running, "ports": ports}


def apply(ground: Ground, undo: Mapping[str, Any], action: Freeze) -> None:
    """Freeze by the cgroup where the node has one, else by its init."""
    if undo["freezer"]:
        effect(f"{action.kind}.apply", lambda: Path(undo["freezer"]).write_text("1", encoding="ascii"))
    else:
        effect(f"{action.kind}.apply", lambda: ground.node_call(undo["subject"], {"op": "stop_all"}))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Thaw; a cgroup that is gone has nothing frozen in it."""
    if not undo["freezer"]:
        effect("freeze.undo", lambda: ground.node_call(undo["subject"], {"op": "cont_all"}))
    elif (freezer := own_file(undo["freezer"], undo["subject"], "cgroup.freeze")).exists():
        effect("freeze.undo", lambda: freezer.write_text("0", encoding="ascii"))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kernel's view of the processes that ran before; the node's init may be frozen itself."""
    if ground.place(undo["subject"]).pod:  # nobody of ours is frozen with it, so it can be listed
        return {**look(ground, undo["subject"], ""), "frozen": _frozen(undo["freezer"])}
    seen = [{**p, "stat": processes.stat(p["pid_lab"])} for p in undo["processes"]]
    return {"processes": seen, "frozen": _frozen(undo["freezer"])}


def _frozen(freezer: str) -> bool | None:
    """Read cgroup.events: is the whole cgroup frozen? None where there is no cgroup."""
    if not freezer:
        return None
    try:
        text = Path(freezer).with_name("cgroup.events").read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return "frozen 1" in text
