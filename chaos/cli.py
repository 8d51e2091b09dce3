"""The `chaosgate` command: a thin door. It reads arguments, prints, and ends with the gate's exit code.

0 promote   2 wrong use, nothing touched   10 hold   11 cannot tell   12 the harness broke down   13 target dirty
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click
from rich.console import Console
from rich.text import Text

from chaos import __version__
from chaos.errors import ChaosgateError, HarnessError, UsageError
from chaos.ordinary import become_root_somewhere

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model import Experiment
    from chaos.session import Options, RunResult

EXIT_CODES = """
Exit codes: 0 every gate passed: promote. 2 wrong use, a bad file or a missing capability: nothing was touched.
10 a gate failed: hold. 11 inconclusive: the run can't tell. 12 the harness or the environment broke down.
13 something could not be healed: run `chaosgate heal`. Over several runs the worst counts: 13 > 10 > 12 > 11 > 0.
"""
LOG_COLUMNS = 200


class Door(click.Group):
    """Turns our errors into one message on stderr and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ChaosgateError as error:
            said = Text.assemble(("error:", "bold red"), f" {error}")
            Console(stderr=True).print(said, highlight=False, soft_wrap=True)
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


# ---------------------------------------------------------------- options shared by commands

files = click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
target_option = click.option("--target", default="netns", show_default=True, help="Where the stack runs.")
runs_option = click.option(
    "--runs",
    default=Path("runs"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the recordings.",
)
version_option = click.option(
    "--version",
    "versions",
    multiple=True,
    metavar="COMPONENT=VERSION",
    help="Run this version, e.g. etcd=3.5.1, or a path to a binary; in an experiment that replaces versions, it is the "
    "one replaced by. May be repeated.",
)


def _versions(given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if bad := [
        text for text, (name, equals, version) in zip(given, pairs, strict=True) if not (name and equals and version)
    ]:
        raise UsageError(f"--version {bad[0]}: expected COMPONENT=VERSION, e.g. --version etcd=3.5.1")
    return {name: version for name, _, version in pairs}


def _load(paths: Sequence[Path], versions: Mapping[str, str], seed: int | None) -> list[Experiment]:
    """Read every file; all problems of all files in one error."""
    from chaos.errors import SpecError  # noqa: PLC0415
    from chaos.session import Options, with_options  # noqa: PLC0415
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
    return [with_options(e, Options(versions=versions, seed=seed)) for e in experiments]


# ---------------------------------------------------------------- run


@main.command(epilog=EXIT_CODES)
@files
@target_option
@version_option
@runs_option
@click.option("--seed", type=int, help="Replaces the seed of the files: it picks victims and traffic.")
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
    help="Repeat a recorded run with its seed and its recorded victims. A victim that was found by role (the leader) "
    "may not hold it this time: then the run can't tell, and says so.",
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
    """
    from chaos.replay import recorded_only, replayed  # noqa: PLC0415
    from chaos.session import Options  # noqa: PLC0415

    become_root_somewhere(target)
    options = Options(target=target, runs=runs, versions=_versions(versions), seed=seed)
    if replay is not None:
        options = replayed(options, replay)
    experiments = _load(files, options.versions, options.seed)
    if replay is not None:
        experiments = recorded_only(experiments, replay)
    sys.exit(_run_all(experiments * repeat, options))


def _console(stream: IO[str]) -> Console:
    """Return a console: as wide as a terminal is, and so wide in a log that no path is broken."""
    return Console(file=stream, width=None if stream.isatty() else LOG_COLUMNS)


def _run_all(experiments: Sequence[Experiment], options: Options) -> int:
    from chaos.live import LiveProgress  # noqa: PLC0415
    from chaos.outlet import Outlet  # noqa: PLC0415
    from chaos.preflight import provide, refuse_what_cannot_run  # noqa: PLC0415
    from chaos.session import interrupt, listening, run_set  # noqa: PLC0415
    from chaos.stage import Flags  # noqa: PLC0415

    flags = Flags()
    outlet = Outlet(sys.stdout, lambda why: interrupt(flags, why))
    console = _console(cast("IO[str]", outlet))  # typeshed's TextIOBase is no IO[str]
    refuse_what_cannot_run(experiments, options)
    provide(experiments, lambda text: console.print(text, highlight=False, soft_wrap=True))
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
    from gates.judge import judge_set, worst  # noqa: PLC0415
    from reports.console import conclusion  # noqa: PLC0415
    from reports.html import render_set  # noqa: PLC0415

    names = [experiment.name for experiment in experiments]
    judged = judge_set([r.judgement for r in results if r.judgement], names)
    page = options.runs / "index.html"
    folders = [result.folder for result in results if result.folder]
    if folders:
        page.write_text(render_set(judged, folders), encoding="utf-8")
    exit_code = worst([judged.exit_code, *(result.exit_code for result in results)])
    console.print(conclusion(judged, exit_code, folders, page if folders else None))
    return exit_code


# ---------------------------------------------------------------- plan, judge, report


@main.command()
@files
@target_option
@version_option
@click.option("--seed", type=int, help="Replaces the seed of the files.")
def plan(files: tuple[Path, ...], target: str, versions: tuple[str, ...], seed: int | None) -> None:
    """Show what would happen: timeline, victims, backends, blast radius, gates, duration, size. Touches nothing."""
    from chaos.preflight import describe  # noqa: PLC0415

    for experiment in _load(files, _versions(versions), seed):
        click.echo(describe(experiment, target))


@main.command(name="judge", epilog=EXIT_CODES)
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
    from reports.console import verdict_table  # noqa: PLC0415

    recording_at(run_folder)
    beside = f"-{gates_file.stem}" if gates_file else ""
    judgement = judge_folder(run_folder, load(gates_file) if gates_file else None, beside=beside)
    console = _console(sys.stdout)
    console.print(verdict_table(judgement))
    console.print(judgement.sentence, highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {run_folder / f'report{beside}.html'}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(judgement.exit_code)


@main.command(name="report")
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
        page.write_text(text, encoding="utf-8")
        text = str(page)
    click.echo(text)


# ---------------------------------------------------------------- check


@main.group()
def check() -> None:
    """Check a history on its own, without a run."""


@check.command(epilog="Exit codes: 0 ok, 10 illegal, 11 unknown, 2 the file is wrong.")
@click.argument("history", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--budget", default="60s", show_default=True, help="Give up after this long: unknown.")
def linearizable(history: Path, budget: str) -> None:
    """Check whether a history of registers is linearizable.

    One operation a line: {"client": 3, "op": "get|put|cas|append", "key": "x", "value": …, "expect": … (cas),
    "swapped": true|false (cas that is ok), "call_ns": 1, "return_ns": 2 or null, "outcome": "ok|failed|unknown"}.
    For get, value is what was read (null: absent). failed = certainly had no effect.
    """
    from chaos.units import parse_duration  # noqa: PLC0415
    from gates.linearizability.command import main_check  # noqa: PLC0415

    try:
        budget_s = parse_duration(budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from error
    sys.exit(main_check(history, budget_s, sys.stdout))


# ---------------------------------------------------------------- machine


@main.command()
def doctor() -> None:
    """Say what this machine can do, and what would enable the rest. Exit 0 if the embedded lab works."""
    from chaos.doctor import examine, report  # noqa: PLC0415

    sys.exit(0 if report(examine(), click.echo) else 2)


@main.command()
def heal() -> None:
    """Undo whatever runs that are no longer alive have left behind. Safe at any time; living runs are not touched."""
    from chaos.leftovers import heal_all  # noqa: PLC0415

    sys.exit(heal_all(click.echo))


@main.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of experiment files, for editors.

    With the YAML language server, put this in a file's first line:

    \b
    # yaml-language-server: $schema=chaosgate.schema.json
    """  # noqa: D301  # as above
    from chaos.spec import json_schema  # noqa: PLC0415

    text = json.dumps(json_schema(), indent=2)
    if output is None:
        click.echo(text)
    else:
        try:
            output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"--output {output}: {error.strerror}; name a file in a folder that you may write"
            ) from error


@main.group()
def runs() -> None:
    """List and prune recordings."""


@runs.command(name="list")
@runs_option
def list_runs(runs: Path) -> None:
    """List recordings: when, experiment, verdict, size."""
    from chaos.shelf import rows  # noqa: PLC0415

    lines = list(rows(runs))
    click.echo("\n".join(lines or [f"no recordings in {runs}"]))


@runs.command()
@runs_option
@click.option("--keep", default=20, show_default=True, type=click.IntRange(0), help="Keep the newest N.")
@click.option("--failed/--no-failed", default=False, help="Also prune recordings that did not pass (kept otherwise).")
@click.option("--yes", is_flag=True, help="Don't ask.")
def prune(runs: Path, keep: int, failed: bool, yes: bool) -> None:
    """Remove old recordings. What failed or was inconclusive is kept unless --failed is given."""
    from chaos.shelf import old, remove, row  # noqa: PLC0415

    folders = old(runs, keep=keep, failed=failed)
    if not folders:
        click.echo(f"nothing to prune in {runs}")
        return
    if not yes:
        click.echo("\n".join(map(row, folders)))
        click.confirm(f"Remove these {len(folders)} recordings for good?", abort=True)
    for folder in folders:
        remove(folder)
        click.echo(f"removed {folder}")


if __name__ == "__main__":
    main()
