"""Where and what it was: versions by node, the machine, the backends, the files, and the commands to do it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import ChaosgateError
from chaos.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.recording import Recording

NONE = "–"
FOLDERS = ("evidence", "logs", "samples")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A node, and which binary ran on it at the start and at the end."""

    name: str
    role: str
    address: str
    start: str
    end: str
    sha256: str
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLink:
    """A file of the recording, relative to the report."""

    name: str
    size: str


def commands(recording: Recording) -> list[tuple[str, str]]:
    """Return what each command does, and the command."""
    run = recording.run
    folder = recording.folder
    place = "RUN" if folder is None else shlex.quote(f"{folder.parent.name}/{folder.name}".lstrip("/"))
    words = ["chaosgate", "run", str(run.get("path") or "experiment.yaml")]
    if replay := run.get("replay_from") or run.get("replay_of"):
        words += ["--replay", str(replay)]
    elif "seed" not in _axes(run):
        words += ["--seed", str(run.get("seed", 1))]
    words += ["--target", str(run["target_name"])] if run.get("target_name") else []
    for component, version in _given(run).items():
        words += ["--version", f"{component}={version}"]
    again = "run it again, with all of its matrix" if _axes(run) and not replay else "run it again"
    return [(again, shlex.join(words)), ("judge this recording again", f"chaosgate judge {place}")]


def _axes(run: Mapping[str, Any]) -> Sequence[str]:
    """Return what the matrix varied, by the cell's name: "cut[version=3.5.1,seed=2]"."""
    label = str(run.get("experiment", "")).partition("[")[2].removesuffix("]")
    return [part.partition("=")[0] for part in label.split(",") if part]


def _given(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the versions asked for by hand; older recordings tell them together with those of the file."""
    given = _dict(run.get("versions_given", run.get("versions_asked")))
    stack = run.get("stack") if "version" in _axes(run) and "versions_given" not in run else None
    return {component: version for component, version in given.items() if component != stack}


def facts(recording: Recording, judged_by: str = "") -> list[tuple[str, str]]:
    """Return name and text of what run.json tells of the machine and the target; `judged_by` is a version of ours."""
    told = [("judged by", f"chaosgate {judged_by}" if judged_by else ""), *_facts(recording.run)]
    return [(name, str(value)) for name, value in told if value not in {None, ""}]


def _facts(run: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    target = _dict(run.get("target"))
    shaper = _dict(target.get("shaper"))
    yield "chaosgate", run.get("chaosgate")
    yield "commit", run.get("git_sha")
    yield "seed", run.get("seed")
    yield "started", run.get("started_utc")
    yield "replay of", run.get("replay_of")
    yield "target", run.get("target_name") or target.get("target")
    yield "kernel", " ".join(str(target[key]) for key in ("kernel", "machine") if target.get(key))
    yield "packet backend", shaper.get("backend")
    yield "why not another", "; ".join(f"{n}: {why}" for n, why in _dict(shaper.get("why")).items() if why)
    yield "real-time priority", _realtime(shaper, _dict(target.get("meter")))
    yield "freezer", target.get("freezer")
    yield "power", target.get("power")
    yield "lease", f"{target['lease_s']:g} s" if isinstance(target.get("lease_s"), int | float) else ""
    yield "capabilities", ", ".join(map(str, target.get("capabilities", ())))
    yield "load", run.get("load_said")


def _realtime(shaper: Mapping[str, Any], meter: Mapping[str, Any]) -> str:
    """SCHED_FIFO keeps tight delays under load; sched(7)."""
    said = [(name, one["realtime"]) for name, one in (("shaper", shaper), ("meter", meter)) if "realtime" in one]
    return ", ".join(f"{name}: {'yes' if yes else 'no, tight delays may not be kept'}" for name, yes in said)


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def nodes(recording: Recording) -> list[NodeRow]:
    """Return every node of the topology and every one that told its version."""
    told = {
        (event.node, str(event.data.get("when"))): event.data
        for event in recording.events
        if event.kind is EventKind.VERSION
    }
    placed = {str(node.get("name")): node for node in _dict(recording.run.get("topology")).get("nodes", ())}
    names = dict.fromkeys([*placed, *(node for node, _ in told)])
    return [_node(name, placed.get(name, {}), told) for name in names]


def _node(name: str, node: Mapping[str, Any], told: Mapping[tuple[str, str], Mapping[str, Any]]) -> NodeRow:
    start, end = told.get((name, "start"), {}), told.get((name, "end"), {})
    return NodeRow(
        name=name,
        role=str(node.get("role", "")) or NONE,
        address=str(node.get("address", "")) or NONE,
        start=str(start.get("version", NONE)),
        end=str(end.get("version", NONE)),
        sha256=str(end.get("sha256") or start.get("sha256") or ""),
        changed=bool(start and end) and start.get("sha256") != end.get("sha256"),
    )


def versions(recording: Recording) -> str:
    """Return the versions that ran, in the order in which they were first told: "3.5.1", "3.4.34 → 3.5.1"."""
    events = sorted((e for e in recording.events if e.kind is EventKind.VERSION), key=lambda e: e.at_ns)
    return " → ".join(dict.fromkeys(str(event.data.get("version")) for event in events))


def experiment_text(recording: Recording) -> str:
    """Return the experiment file as it was run; empty if the recording does not have it."""
    if recording.folder is not None and (path := recording.folder / "experiment.yaml").is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    try:
        return recording.experiment.text
    except ChaosgateError:  # cut short before it was written, or a recording in memory
        return ""


def about(recording: Recording) -> str:
    """Return the experiment's own sentence on what it does."""
    try:
        return recording.experiment.about
    except ChaosgateError:  # the report of a broken recording must still be drawn
        return ""


def files(recording: Recording) -> dict[str, Sequence[FileLink]]:
    """Return the recording's files by folder, "" for its top; empty for one in memory."""
    if recording.folder is None:
        return {}
    top = [path for path in sorted(recording.folder.iterdir()) if path.is_file()]
    shown = [p for p in top if p.suffix in {".json", ".jsonl", ".yaml", ".arrow"} and not p.name.startswith(".")]
    links = {"": [FileLink(name=path.name, size=_size(path.stat().st_size)) for path in shown]}
    for folder in FOLDERS:
        inside = [path for path in sorted((recording.folder / folder).rglob("*")) if path.is_file()]
        names = ((path.relative_to(recording.folder).as_posix(), path) for path in inside)
        links[folder] = [FileLink(name=name, size=_size(path.stat().st_size)) for name, path in names]
    return {folder: found for folder, found in links.items() if found}


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"
