"""The commands beside a run: what this machine can do, what was left behind, what was recorded, what a history shows.

chaosgate doctor   heal   schema   check linearizable   runs list   runs prune
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from chaos.errors import UsageError
from chaos.listened import Unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# ---------------------------------------------------------------- check


@click.group()
def check() -> None:
    """Check a history on its own, without a run."""


@check.command(cls=Unheard, epilog="Exit codes: 0 ok, 10 illegal, 11 unknown, 2 the file is wrong.")
@click.argument("history", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--budget", default="60s", show_default=True, help="Give up the search after this long: unknown.")
@click.option(
    "--budget-memory", default="2GiB", show_default=True, help="Give up the search when its memory needs more: unknown."
)
def linearizable(history: Path, budget: str, budget_memory: str) -> None:
    """Check whether a history of registers is linearizable; - reads it from standard input.

    One operation a line: {"client": 3, "op": "get|put|cas|append", "key": "x", "value": …, "expect": … (cas),
    "swapped": true|false (cas that is ok), "call_ns": 1, "return_ns": 2 or null, "outcome": "ok|failed|unknown"}.
    For get, value is what was read (null: absent). failed = certainly had no effect.

    Keys with unique values are decided by sorting, in near-linear time and memory, which heeds no budget; both
    budgets bound the search for an order of the operations on the other keys.
    """
    from chaos.units import parse_duration, parse_size  # noqa: PLC0415  # here and below: only what one command needs
    from gates.linearizability.command import main_check  # noqa: PLC0415

    try:
        budget_s = parse_duration(budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from error
    try:
        budget_bytes = parse_size(budget_memory)
    except ValueError as error:
        raise UsageError(f"--budget-memory: {error}") from error
    if history == Path("-"):
        history = Path("/dev/stdin")
    sys.exit(main_check(history, budget_s, sys.stdout, budget_bytes=budget_bytes))


# ---------------------------------------------------------------- machine


@click.command(
    cls=Unheard,
    epilog="Exit codes: 0 ready: the embedded lab works here, whatever else is missing. 2 not ready: it does not.",
)
def doctor() -> None:
    """Say what this machine can do, what would enable the rest, and, in the last line, what can be gated on it.

    An ordinary user is told what `chaosgate run` would have: it makes its lab in a user namespace.
    """
    from chaos.doctor import examine, report  # noqa: PLC0415
    from chaos.ordinary import as_run_would  # noqa: PLC0415

    as_run_would("netns")  # why it could not is among the findings
    sys.exit(0 if report(examine(), click.echo) else 2)


@click.command(cls=Unheard)
def heal() -> None:
    """Undo whatever runs that are no longer alive have left behind. Safe at any time; living runs are not touched."""
    from chaos.leftovers import heal_all  # noqa: PLC0415

    sys.exit(heal_all(click.echo))


@click.command(cls=Unheard)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of experiment files, for editors.

    With the YAML language server, put this in a file's first line:

    \b
    # yaml-language-server: $schema=chaosgate.schema.json
    """  # noqa: D301  # click reads the backspace as "keep these lines as they are"
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


# ---------------------------------------------------------------- recordings


def _there(context: click.Context, parameter: click.Parameter, folder: Path) -> Path:
    """Refuse a folder that was asked for by name and is not there; the usual one is made by the first run."""
    given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
    if given and not folder.is_dir():
        raise click.BadParameter(f"there is no folder {str(folder)!r}; name the one that `chaosgate run` was given")
    return folder


def runs_option(*, there: bool = False) -> Callable[[Any], Any]:
    """Return the option that names the folder of recordings, which must be `there` already or is made."""
    return click.option(
        "--runs",
        default=Path("runs"),
        show_default=True,
        callback=_there if there else None,
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the recordings.",
    )


@click.group()
def runs() -> None:
    """List and prune recordings."""


@runs.command(name="list", cls=Unheard)
@runs_option(there=True)
def list_runs(runs: Path) -> None:
    """List recordings: when and what, the decision, the size."""
    from chaos.shelf import recordings  # noqa: PLC0415

    if not runs.is_dir():
        click.echo(f"no runs yet: the first `chaosgate run` makes the folder {runs}")
    elif folders := recordings(runs):
        _show(folders)
    else:
        click.echo(f"no recordings in {runs}")


def _show(folders: Sequence[Path]) -> None:
    """Print recordings: a table on a terminal, lines elsewhere."""
    from chaos.outlet import console_on  # noqa: PLC0415
    from chaos.shelf import HEADER, row, table  # noqa: PLC0415

    if _on_terminal():
        console_on(sys.stdout).print(table(folders))
    else:
        click.echo("\n".join([HEADER, *map(row, folders)]))


def _on_terminal() -> bool:
    return sys.stdout.isatty()


@runs.command(cls=Unheard)
@runs_option(there=True)
@click.option("--keep", default=20, show_default=True, type=click.IntRange(0), help="Keep the newest N.")
@click.option("--failed/--no-failed", default=False, help="Also prune recordings that did not pass (kept otherwise).")
@click.option("--yes", is_flag=True, help="Don't ask.")
def prune(runs: Path, keep: int, failed: bool, yes: bool) -> None:
    """Remove old recordings. What failed or was inconclusive is kept unless --failed is given."""
    from chaos.shelf import forget, old, remove  # noqa: PLC0415

    folders = old(runs, keep=keep, failed=failed)
    if not folders:
        click.echo(f"nothing to prune in {runs}")
        return
    if not yes:
        _show(folders)
        if not _agreed(f"Remove these {len(folders)} recordings for good?"):
            click.echo("nothing removed")
            return
    for folder in folders:
        remove(folder)
        click.echo(f"removed {folder}")
    if page := forget(runs):
        click.echo(f"removed {page}: it showed runs that are gone")


def _agreed(question: str) -> bool:
    """Ask; UsageError if nobody is there to answer."""
    try:
        return click.confirm(question)
    except click.Abort as abort:
        if not isinstance(abort.__context__, EOFError):
            raise
        click.echo()
        raise UsageError("nobody is there to ask, and nothing was removed; say --yes") from abort


COMMANDS = (check, doctor, heal, schema, runs)
