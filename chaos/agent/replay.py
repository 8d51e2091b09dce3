"""Undo what a dead agent left: `python -m chaos.agent heal FOLDER`.

    journal without a living owner ─▶ each record undone, newest first ─▶ forgotten

`ground` beside the records says where the lab's sockets were. If they are gone, so is the lab, and with it
every process, link and namespace that a fault could have touched: that is healed, not an error.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from chaos.agent.actions import ACTIONS
from chaos.agent.ground import Ground, Place
from chaos.agent.journal import Journal, is_owned, private, read
from chaos.agent.pods import Pods
from chaos.errors import AgentError, DirtyError, TargetError
from chaos.targets.netns.wire import call

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GROUND = "ground"
REACH_S = 3.0


def note_ground(folder: Path, hello: Mapping[str, Any]) -> None:
    """Keep what a replay needs to know of the lab beside the records."""
    kept = {"lab_socket": hello["lab_socket"], "nodes": list(hello["nodes"])}
    with open(folder / GROUND, "w", encoding="utf-8", opener=private) as file:
        file.write(json.dumps(kept))


def heal(folder: Path) -> list[str]:
    """Undo every record of a folder that no living process owns; return their names.

    DirtyError if one can't be undone; AgentError if a living owner holds the folder.
    """
    if is_owned(folder):
        raise AgentError(f"{folder}: a living run owns this journal and heals it itself; end that run first")
    records = read(folder)
    if not records:
        return []
    journal = Journal(folder)
    ground = None
    try:
        ground = reach(folder)
        failed = [] if ground is None else _undo_all(ground, folder)
        if failed:
            raise DirtyError("; ".join(failed))
        for record in records:
            journal.forget(record.name)
    finally:
        journal.close()
        if ground is not None:
            _close(ground)
    return [record.name for record in records]


def _close(ground: Ground) -> None:
    for descriptor in (ground.hub_netns, *(place.netns for place in ground.places.values())):
        if descriptor >= 0:
            os.close(descriptor)


def _undo_all(ground: Ground, folder: Path) -> list[str]:
    failed = []
    for record in reversed(read(folder)):
        try:
            ACTIONS[record.kind].undo(ground, record.undo)
        except (AgentError, OSError, KeyError) as error:
            failed.append(f"{folder / record.name}.json: {record.kind} on {record.undo.get('subject')}: {error}")
    return failed


def reach(folder: Path) -> Ground | None:
    """Find the lab of a journal; None if it is gone."""
    try:
        kept = json.loads((folder / GROUND).read_text(encoding="utf-8"))
        if not kept["lab_socket"]:
            return _machine(kept["nodes"])
        nodes = call(kept["lab_socket"], {"op": "nodes"}, REACH_S)["nodes"]
    except FileNotFoundError:
        return None
    except TargetError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionError):
            return None
        raise
    opened = {name: _opened(node["netns"]) for name, node in nodes.items()}
    places = {node["name"]: Place(**{**node, "netns": opened.get(node["name"], -1)}) for node in kept["nodes"]}
    return Ground(lab_socket=kept["lab_socket"], hub_netns=_opened("/proc/1/ns/net"), places=places)


def _machine(nodes: list[dict[str, Any]]) -> Ground:
    """Return the pods that a journal of a machine knew: those that are gone have nothing to be undone but files."""
    places = {node["name"]: Place(name=node["name"], address=node["address"], pod=node["pod"]) for node in nodes}
    pods = Pods(uids={name: place.pod for name, place in places.items() if place.pod})
    return Ground(lab_socket="", hub_netns=-1, places=places, pods=pods)  # a dead shaper's rules died with it


def _opened(path: str) -> int:
    """Open a namespace; -1 where it is gone."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
