"""A node's wall clock jumps, ahead or back, for all processes that read it through libfaketime.

    <lab>/run/<node>.clock   "+0" ─▶ "+30.000" (whole or not at all: one rename)   the undo writes what was there

Measured from inside: a process of ours with the environment that the node's own have tells its time, and each of the
node's processes has the library mapped and was started with this very file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.agent import processes
from chaos.agent.actions.signal import running_processes
from chaos.agent.asking import offset_s
from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import ClockSkew


def prepare(ground: Ground, name: str, subject: str, action: ClockSkew) -> dict[str, Any]:  # noqa: ARG001 - the seam's
    """Remember the offset; AgentError if the node's clock is the machine's, or nothing runs."""
    place = ground.place(subject)
    if not place.clock:
        raise AgentError(f"{name}: the clock of {subject} is this machine's")
    running = running_processes(ground, subject, "")
    if not running:
        raise AgentError(f"{name}: nothing runs on {subject}: what its clock says would be read by nobody")
    before = Path(place.clock["FAKETIME_TIMESTAMP_FILE"]).read_text(encoding="ascii").strip()
    return {"name": name, "subject": subject, "before": before, "processes": running}


def apply(ground: Ground, undo: Mapping[str, Any], action: ClockSkew) -> None:
    """Write the offset."""
    effect("clock.apply", lambda: _write(ground, undo["subject"], f"{action.offset_s:+.3f}"))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Write the offset that was there."""
    effect("clock.undo", lambda: _write(ground, undo["subject"], undo["before"]))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far ahead a clock of the node is, seconds, and which of its processes read it so."""
    place = ground.place(undo["subject"])
    listed = ground.node_call(undo["subject"], {"op": "ps"})["processes"]
    rows = [{**p, "stat": processes.stat(p["pid_lab"]), "reads": _reads(p["pid_lab"], place.clock)} for p in listed]
    return {"processes": rows, "offset_s": offset_s(place.clock)}


def _write(ground: Ground, subject: str, text: str) -> None:
    """Write beside it, then rename: an empty file would be an error to whoever reads it in between."""
    path = Path(ground.place(subject).clock["FAKETIME_TIMESTAMP_FILE"])
    new = path.with_suffix(".new")
    new.write_text(f"{text}\n", encoding="ascii")
    new.replace(path)


def _reads(pid: int, environment: Mapping[str, str]) -> bool | None:
    """Whether a process has the library mapped, and reads this node's file; None if it is gone."""
    try:
        mapped = environment["LD_PRELOAD"] in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
        started = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return mapped and f"FAKETIME_TIMESTAMP_FILE={environment['FAKETIME_TIMESTAMP_FILE']}".encode() in started
