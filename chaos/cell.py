"""One run for pytest: run it and judge it, or judge the newest recording of it again."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chaos.errors import CapabilityError, UsageError
from chaos.options import Options, with_options
from chaos.preflight import provide, refuse_what_cannot_run
from chaos.recording import Recording
from chaos.session import RunResult, judge_folder, listening, run_set
from chaos.shelf import recordings
from chaos.spec import cells
from chaos.stage import Flags
from chaos.streams import read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.model import Experiment


def run_cell(experiment: Experiment, *, target: str, runs: Path, given: Options | None = None) -> RunResult:
    """Run it on a target of its own. CapabilityError if that can't be done here.

    `given`: the versions and the seed asked for by hand; the experiment has them already.

    A signal ends the run, everything is healed and judged, and only then is KeyboardInterrupt raised.
    """
    if target == "netns" and os.geteuid() != 0:
        raise CapabilityError(
            "the netns target needs root: `sudo pytest …`, or `unshare --user --map-root-user pytest …`"
        )
    options = replace(given or Options(), target=target, runs=runs)
    refuse_what_cannot_run([experiment], options)
    provide([experiment], options.target, lambda _: None)
    flags = Flags()
    in_main = threading.current_thread() is threading.main_thread()  # signal(7) handlers live nowhere else
    with listening(flags) if in_main else nullcontext():
        (result,) = run_set([experiment], options, flags=flags, watch=lambda _: None)
    if flags.interrupted:
        raise KeyboardInterrupt(flags.interrupted)
    return result


def rejudge_newest(experiment: Experiment, runs: Path, *, given: Options | None = None) -> RunResult:
    """Judge the newest recording of this experiment in `runs`, or `runs` itself if it is one, by the file's gates.

    `given` as for `run_cell`. UsageError if there is none, or if it was run with others.
    """
    given = given or Options()
    for folder in [runs] if (runs / "run.json").exists() else recordings(runs):
        facts, _ = read_facts(folder / "run.json")
        if facts.get("experiment") == experiment.name:
            _refuse_another(folder, experiment, facts, given)
            return RunResult(experiment=experiment, folder=folder, judgement=judge_folder(folder, experiment))
    raise UsageError(f"{runs}: no recording of {experiment.name}; run it first, without --chaos-rejudge")


def _refuse_another(folder: Path, experiment: Experiment, facts: Mapping[str, Any], given: Options) -> None:
    """Raise UsageError if the file says something else today than when it was run, gates aside."""
    versions = facts.get("versions_asked", {})
    if given.seed is not None and facts.get("seed") != given.seed:
        raise UsageError(
            f"{folder}: was recorded with the seed {facts.get('seed')}, asked for is {given.seed}; run it again, "
            "without --chaos-rejudge"
        )
    if dict(versions) != dict(experiment.stack.versions):
        raise UsageError(
            f"{folder}: was recorded with {dict(versions) or 'the default versions'}, and {experiment.path} asks for "
            f"{dict(experiment.stack.versions) or 'the default versions'}; run it again, without --chaos-rejudge"
        )
    recorded = Recording.open(folder).experiment
    cell = with_options(next((one for one in cells(recorded) if one.name == experiment.name), recorded), given)
    for part in ("stack", "load", "beside", "steps", "duration_s", "warm_up_s"):
        if getattr(cell, part) != getattr(experiment, part):
            raise UsageError(
                f"{folder}: was recorded with another `{part.removesuffix('_s')}` than {experiment.path} has now; "
                "run it again, without --chaos-rejudge"
            )
