"""A recorded run, repeated: the same seed, the same versions, the same victims, in the steps they were chosen for.

runs/<utc>-leader-kill-<id>/ ─▶ Options(seed, versions, recorded victims)
                             └▶ only the experiment, and the cell of its matrix, that was recorded
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.aiming import recorded_victims
from chaos.errors import ChaosgateError, RecordingError, UsageError
from chaos.recording import Recording
from chaos.spec import cells, load_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.model import Experiment
    from chaos.options import Options

PARTS = {  # of an experiment, that decide on what a run is → as a file calls them
    "steps": "steps",
    "stack": "stack",
    "load": "load",
    "beside": "beside",
    "duration_s": "duration",
    "warm_up_s": "warm-up",
    "abort_when": "abort-when",
    "blast_radius": "blast-radius",
    "gates": "gates",
}


def recording_at(folder: Path) -> Recording:
    """Read the recording that a user named; UsageError if there is none."""
    try:
        return Recording.open(folder)
    except RecordingError as error:
        raise UsageError(str(error)) from error


def replayed(options: Options, folder: Path) -> Options:
    """Return options that repeat a recorded run; a version asked for by hand wins. UsageError if it says too little."""
    recording = recording_at(folder)
    if options.seed is not None:
        raise UsageError(f"--seed {options.seed}: --replay takes the seed of the run that it repeats; leave one out")
    seed = recording.run.get("seed")
    if seed is None:
        raise UsageError(f"--replay {folder}: run.json names no seed, the run never began; give another run")
    # What was given by hand, not what ran: a file that replaces a version takes the one given for the last.
    given = recording.run.get("versions_given", recording.run.get("versions_asked", {}))
    other = [f"{name} {version}" for name, version in options.versions.items() if given.get(name) != version]
    return replace(
        options,
        replay=folder,
        seed=seed,
        versions={**given, **options.versions},
        recorded=recorded_victims(recording.events),
        notes=(f"replay of {folder.name}, by hand with {', '.join(other)}",) if other else (),
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


def changes(experiment: Experiment, folder: Path) -> tuple[str, ...]:
    """Say what the file says otherwise than when it was recorded; UsageError if that is its steps, or can't be known.

    The recorded victims were chosen for the recorded steps.
    """
    try:
        before = recording_at(folder).experiment
    except ChaosgateError as error:
        raise UsageError(f"--replay {folder}: nothing says what was run: {error}; give another run") from error
    now, then = _as_written(experiment, experiment.name), _as_written(before, experiment.name)
    other = [said for part, said in PARTS.items() if getattr(now, part) != getattr(then, part)]
    if "steps" in other:
        raise UsageError(
            f"--replay {folder}: {experiment.path} has other `steps` than were recorded, and the victims were chosen "
            f"for those; give the recording's own file, {folder / 'experiment.yaml'}"
        )
    if not other:
        return ()
    return (f"replay of {folder.name}, with other {', '.join(other)} in {experiment.path} than were recorded",)


def _as_written(experiment: Experiment, name: str) -> Experiment:
    """Return the cell of that name as its file has it, before the command line changed it."""
    written = load_text(experiment.text, experiment.path)
    return next((one for one in cells(written) if one.name == name), written)


def _file_of(name: str) -> str:
    """Return the name without its matrix's cell."""
    return name.partition("[")[0]
