"""A recorded run, repeated: the same seed, the same versions, the same victims.

runs/<utc>-leader-kill-<id>/ ─▶ Options(seed, versions, recorded victims)
                             └▶ only the experiment, and the cell of its matrix, that was recorded
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.aiming import recorded_victims
from chaos.errors import RecordingError, UsageError
from chaos.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.model import Experiment
    from chaos.options import Options


def recording_at(folder: Path) -> Recording:
    """Read the recording that a user named; UsageError if there is none."""
    try:
        return Recording.open(folder)
    except RecordingError as error:
        raise UsageError(str(error)) from error


def replayed(options: Options, folder: Path) -> Options:
    """Return options that repeat a recorded run; what was asked for by hand wins. UsageError if it says too little."""
    recording = recording_at(folder)
    seed = recording.run.get("seed") if options.seed is None else options.seed
    if seed is None:
        raise UsageError(f"--replay {folder}: run.json names no seed, the run never began; give another run")
    return replace(
        options,
        replay=folder,
        seed=seed,
        versions={**recording.run.get("versions_asked", {}), **options.versions},
        recorded=recorded_victims(recording.events),
    )


def recorded_only(experiments: Sequence[Experiment], folder: Path) -> list[Experiment]:
    """Return the one that was recorded; UsageError for any other, since its victims were never chosen."""
    recorded = str(recording_at(folder).run.get("experiment", ""))
    others = [e.name for e in experiments if _file_of(e.name) != _file_of(recorded)]
    chosen = [e for e in experiments if e.name == recorded]
    if others or not chosen:
        names = ", ".join(others or [e.name for e in experiments])
        own = folder / "experiment.yaml"
        raise UsageError(f"--replay {folder}: it is a run of {recorded}, not of {names}; give its own file, {own}")
    return chosen


def _file_of(name: str) -> str:
    """Return the name without its matrix's cell."""
    return name.partition("[")[0]
