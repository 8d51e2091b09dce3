"""The `chaosgate` command: a thin door. It reads arguments, prints, and ends with the gate's exit code.

0 promote   2 wrong use, nothing touched   10 hold   11 cannot tell   12 the harness broke down   13 target dirty
"""

from __future__ import annotations

import sys
import traceback
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click
from rich.console import Console
from rich.text import Text

from chaos import __version__, upkeep
from chaos.errors import ChaosgateError, HarnessError, SpecError, UsageError
from chaos.installing import image, install, uninstall
from chaos.labs import lab
from chaos.listened import Unheard
from chaos.ordinary import as_run_would, become_root_somewhere
from chaos.outlet import Outlet, console_on
from chaos.places import package_in_the_way
from chaos.upkeep import runs_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Experiment
    from chaos.options import Options
    from chaos.session import RunResult

EXIT_CODES = """
Exit codes: 0 every gate passed: promote. 2 wrong use, a bad file or a missing capability: nothing was touched.
10 a gate failed: hold. 11 inconclusive: the run can't tell. 12 the harness or the environment broke down.
13 something could not be healed: run `chaosgate heal`. Over several runs the worst counts: 13 > 10 > 12 > 11 > 0.
"""


class Door(click.Group):
    """Turns our errors into one message on stderr and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ChaosgateError as error:
            # Editors look for file:line:column at the beginning of a line.
            mark = Text() if isinstance(error, SpecError) else Text.assemble(("error:", "bold red"), " ")
            Console(stderr=True).print(mark.append(str(error)), highlight=False, soft_wrap=True)
            sys.exit(error.exit_code)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception:  # noqa: BLE001  # a bug of ours: shown whole, and under the code that says whose it is
            Console(stderr=True).print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
            sys.exit(HarnessError.exit_code)


@click.group(
    cls=Door, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="chaosgate")
def main() -> None:
    """Decide whether a new version of a stateful system may be promoted.

    An experiment is one YAML file: a stack, peak traffic, a timeline of faults, and gates. A run drives the
    traffic, breaks things on schedule, measures that every fault really happened and was undone, records
    everything, and judges: promote, hold, or cannot tell.

    \b
    chaosgate doctor                                    what can this machine do?
    chaosgate plan experiments/etcd/leader-kill.yaml    what would happen?
    chaosgate run  experiments/etcd/leader-kill.yaml    do it, and judge
    chaosgate run  experiments/etcd/crash-loop.yaml --version etcd=3.5.1
    """  # noqa: D301  # click reads the backspace as "keep these lines as they are"
    if found := package_in_the_way():
        raise UsageError(
            f"{found} is in the way of chaosgate's own package of that name; take its folder out of PYTHONPATH, "
            "start `chaosgate` and not `python -m` there, or install chaosgate into an environment of its own"
        )


# ---------------------------------------------------------------- options shared by commands

files = click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
target_option = click.option("--target", default="netns", show_default=True, help="Where the stack runs.")
version_option = click.option(
    "--version",
    "versions",
    multiple=True,
    metavar="COMPONENT=VERSION",
    help="Run this version, e.g. etcd=3.5.1, or a path to a binary; in an experiment that replaces versions, it is the "
    "one replaced by. May be repeated.",
)


def _load(paths: Sequence[Path], given: Options, options: Options | None = None) -> list[Experiment]:
    """Read every file; all problems of all files in one error.

    `given` by hand; `options`, where they are others, as a replay makes them.
    """
    from chaos.options import refuse_other_axes, with_options  # noqa: PLC0415
    from chaos.spec import cells, load  # noqa: PLC0415

    experiments: list[Experiment] = []
    problems: list[str] = []
    for path in paths:
        try:
            experiments.extend(cells(load(path)))
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(problems)
    for experiment in experiments:
        refuse_other_axes(experiment, given)
    return [with_options(experiment, options or given) for experiment in experiments]


# ---------------------------------------------------------------- run


@main.command(epilog=EXIT_CODES)
@files
@target_option
@version_option
@runs_option()
@click.option("--seed", type=click.IntRange(0), help="Replaces the seed of the files: it picks victims and traffic.")
@click.option(
    "--repeat",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Run every file N times. Mixed results: one FAIL holds; one inconclusive run without a FAIL can't tell; "
    "only N passes promote.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="Repeat a recorded run with its seed and its recorded victims. Where a role was hit (the leader), its first "
    "victim is given it again before the load begins; a later one may not hold it: then the run can't tell, and says "
    "so.",
)
def run(
    files: tuple[Path, ...],
    target: str,
    versions: tuple[str, ...],
    runs: Path,
    seed: int | None,
    repeat: int,
    replay: Path | None,
) -> None:
    """Run experiments and decide.

    Every file is checked, and everything that the target must be able to do is asked for, before anything is
    touched. Then each runs on a target of its own, is judged, and gets a report. Ctrl-C heals everything, then ends.

    A gate with `expect: fail` that fails still holds, with exit code 10: a known failure is one. Only pytest shows it
    as xfailed and ends with 0.
    """
    from dataclasses import replace  # noqa: PLC0415

    from chaos.options import Options, pairs  # noqa: PLC0415
    from chaos.replay import changes, recorded_only, replayed  # noqa: PLC0415

    become_root_somewhere(target)
    options = given = Options(target=target, runs=runs, versions=pairs(versions), seed=seed)
    if replay is not None:
        options = replayed(given, replay)
    experiments = _load(files, given, options)
    if replay is not None:
        experiments = recorded_only(experiments, replay)
        notes = [note for experiment in experiments for note in changes(experiment, replay)]
        options = replace(options, notes=(*options.notes, *dict.fromkeys(notes)))
    sys.exit(_run_all(experiments * repeat, options))


def _run_all(experiments: Sequence[Experiment], options: Options) -> int:
    from chaos.live import LiveProgress  # noqa: PLC0415
    from chaos.preflight import provide, refuse_what_cannot_run  # noqa: PLC0415
    from chaos.session import interrupt, listening, run_set  # noqa: PLC0415
    from chaos.stage import Flags  # noqa: PLC0415

    flags = Flags()
    outlet = Outlet(sys.stdout, lambda why: interrupt(flags, why))
    console = console_on(cast("IO[str]", outlet))  # typeshed's TextIOBase is no IO[str]
    refuse_what_cannot_run(experiments, options)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    provide(experiments, options.target, say)
    for note in options.notes:
        say(note)
    with listening(flags), LiveProgress(console) as live:
        results = run_set(experiments, options, flags=flags, watch=live, done=lambda r: _say_result(console, r))
    return _conclude(console, experiments, results, options)


def _say_result(console: Console, result: RunResult) -> None:
    from reports.console import result_line  # noqa: PLC0415

    console.print(result_line(result.experiment.name, result.judgement, result.error, result.folder))


def _conclude(
    console: Console, experiments: Sequence[Experiment], results: Sequence[RunResult], options: Options
) -> int:
    """Print the table and the decision, write the set's page; return the exit code."""
    from gates.judge import judge_set  # noqa: PLC0415
    from reports.console import conclusion  # noqa: PLC0415
    from reports.html import render_set  # noqa: PLC0415

    names = [experiment.name for experiment in experiments]
    troubles = [r.error for r in results if r.error]
    judged = judge_set([r.judgement for r in results if r.judgement], names, troubles=troubles)
    page: Path | None = options.runs / "index.html"
    folders = [result.folder for result in results if result.folder]
    try:
        if page and folders:
            page.write_text(render_set(judged, folders), encoding="utf-8")
    except OSError as error:  # a full disk, most often: the decision is made, and said here
        console.print(f"{page}: can't be written: {error.strerror}", highlight=False, markup=False, soft_wrap=True)
        page = None
    console.print(conclusion(judged, judged.exit_code, folders, page if folders else None))
    return judged.exit_code


# ---------------------------------------------------------------- plan, judge, report


@main.command(cls=Unheard)
@files
@target_option
@version_option
@runs_option()
@click.option("--seed", type=click.IntRange(0), help="Replaces the seed of the files.")
def plan(files: tuple[Path, ...], target: str, versions: tuple[str, ...], runs: Path, seed: int | None) -> None:
    """Show what would happen: timeline, victims, backends, blast radius, gates, duration, size. Touches nothing."""
    from chaos.options import Options, pairs  # noqa: PLC0415
    from chaos.preflight import describe, refuse_unknown_versions  # noqa: PLC0415

    refused = as_run_would(target)
    experiments = _load(files, Options(versions=pairs(versions), seed=seed))
    refuse_unknown_versions(experiments)
    for experiment in experiments:
        click.echo(describe(experiment, target, runs))
    if refused:
        click.echo(f"here `chaosgate run` would be refused: {refused}", err=True)


@main.command(name="judge", cls=Unheard, epilog=EXIT_CODES)
@click.argument("run_folder", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--gates",
    "gates_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge by this experiment file's gates instead of the recorded ones.",
)
def judge_command(run_folder: Path, gates_file: Path | None) -> None:
    """Judge a recording again, without a target; writes its verdict.json and report.html anew.

    With --gates the recorded verdict stays: verdict-NAME.json and report-NAME.html are written beside it.
    """
    from chaos.replay import recording_at  # noqa: PLC0415
    from chaos.session import judge_folder  # noqa: PLC0415
    from chaos.spec import load  # noqa: PLC0415
    from gates.judge import recorded_judge  # noqa: PLC0415
    from reports.console import verdict_table  # noqa: PLC0415

    if not gates_file and not (run_folder / "experiment.yaml").exists() and recording_at(run_folder):
        raise UsageError(f"{run_folder}: the recording has no experiment.yaml to judge it by; give --gates FILE")
    recording_at(run_folder)
    before = recorded_judge(run_folder)
    beside = f"-{gates_file.stem}" if gates_file else ""
    judgement = judge_folder(run_folder, load(gates_file) if gates_file else None, beside=beside)
    console = console_on(sys.stdout)
    console.print(verdict_table(judgement))
    console.print(judgement.sentence, highlight=False, markup=False, soft_wrap=True)
    if before not in (None, judgement.judged_by):
        other = f"chaosgate {before}" if before else "a chaosgate that did not say its version"
        said = f"the verdict on record was made by {other}, this one by {judgement.judged_by}: numbers may differ"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {run_folder / f'report{beside}.html'}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(judgement.exit_code)


@main.command(name="report", cls=Unheard)
@click.argument("run_folder", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--format", "form", default="html", show_default=True, help="html, json or console.")
def report_command(run_folder: Path, form: str) -> None:
    """Draw a recording's report again, from its verdict; html is written into the recording."""
    from chaos.replay import recording_at  # noqa: PLC0415
    from gates.judge import read_verdict  # noqa: PLC0415
    from reports import REPORTS  # noqa: PLC0415

    if form not in REPORTS:
        raise UsageError(f"--format {form}: there are {', '.join(REPORTS)}")
    text = REPORTS[form](recording_at(run_folder), read_verdict(run_folder))
    if form == "html":
        page = run_folder / "report.html"
        try:
            page.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{page}: can't be written: {error.strerror}; --format console prints it") from error
        text = str(page)
    click.echo(text)


for command in (*upkeep.COMMANDS, lab, install, uninstall, image):
    main.add_command(command)

if __name__ == "__main__":
    main()
