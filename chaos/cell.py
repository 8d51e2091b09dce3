"""One run for pytest: run it and judge it, or judge the newest recording of it again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from chaos.engine import Flags
from chaos.errors import CapabilityError, UsageError
from chaos.preflight import provide, refuse_what_cannot_run
from chaos.recording import Recording
from chaos.session import Options, RunResult, judge_folder, run_set
from chaos.shelf import recordings

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.model import Experiment


def run_cell(experiment: Experiment, *, target: str, runs: Path) -> RunResult:
    """Run it on a target of its own. CapabilityError if that can't be done here."""
    if target == "netns" and os.geteuid() != 0:
        raise CapabilityError(
            "the netns target needs root: `sudo pytest …`, or `unshare --user --map-root-user pytest …`"
        )
    options = Options(target=target, runs=runs)
    refuse_what_cannot_run([experiment], options)
    provide([experiment], lambda _: None)
    (result,) = run_set([experiment], options, flags=Flags(), watch=lambda _: None)
    return result


def rejudge_newest(experiment: Experiment, runs: Path) -> RunResult:
    """Judge the newest recording of this experiment in `runs` by the file's gates. UsageError if there is none."""
    for folder in recordings(runs):
        if Recording.open(folder).run.get("experiment") == experiment.name:
            return RunResult(experiment=experiment, folder=folder, judgement=judge_folder(folder, experiment))
    raise UsageError(f"{runs}: no recording of {experiment.name}; run it first, without --chaos-rejudge")
