"""What the terminal shows of verdicts: a line a run, a table a run, the decision of a set. Plain off a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from chaos.model import Decision, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from chaos.errors import ChaosgateError
    from chaos.model import Verdict
    from chaos.recording import Recording
    from gates.judge import Judgement, SetJudgement

STYLES = {Status.PASS: "green", Status.INCONCLUSIVE: "yellow", Status.FAIL: "bold red"}
DECISIONS = {Decision.PROMOTE: "bold green", Decision.CANNOT_TELL: "bold yellow", Decision.HOLD: "bold red"}


def result_line(
    name: str, judgement: Judgement | None, error: ChaosgateError | None, folder: Path | None
) -> RenderableType:
    """Return what is said when a run has ended: its decision, why, and where its report is."""
    lines: list[Text] = []
    if judgement is not None:
        decision = Text(f"{judgement.decision.value.upper():<12}", style=DECISIONS[judgement.decision])
        lines.append(Text.assemble(decision, (f"{name:<28}", "bold"), " ", judgement.why))
    else:
        lines.append(Text.assemble(("NOT JUDGED  ", DECISIONS[Decision.CANNOT_TELL]), (name, "bold")))
    if error is not None:
        lines.append(Text(f"  {type(error).__name__}: {error}", style="red"))
    if folder is not None:
        lines.append(Text(f"  {folder if judgement is None else folder / 'report.html'}", style="dim"))
    return Group(*lines)


def verdict_table(judgement: Judgement) -> Table:
    """Return a row a gate. Every text is one: rich would read brackets, of a cell's name or an error, as markup."""
    table = Table(
        title=Text(judgement.experiment) if judgement.experiment else None, title_justify="left", header_style="bold"
    )
    table.add_column("gate", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold")
    for verdict in judgement.verdicts:
        status = Text(verdict.status.name, style=STYLES[verdict.status])
        table.add_row(Text(verdict.gate), status, Text(_why(judgement, verdict)))
    return table


def set_table(judged: SetJudgement) -> Table:
    """Return a row a gate of every run."""
    table = Table(header_style="bold")
    for column in ("experiment", "gate", "verdict"):
        table.add_column(column, no_wrap=True)
    table.add_column("why", overflow="fold")
    for judgement in judged.judgements:
        for number, verdict in enumerate(judgement.verdicts):
            name = Text(judgement.experiment if number == 0 else "")
            status = Text(verdict.status.name, style=STYLES[verdict.status])
            table.add_row(name, Text(verdict.gate), status, Text(_why(judgement, verdict)))
        table.add_section()
    for missing in judged.missing:
        why = "a set with an experiment that was not run, or could not be judged, is not promoted"
        table.add_row(Text(missing), "", Text("NO VERDICT", style="yellow"), why)
    return table


def _why(judgement: Judgement, verdict: Verdict) -> str:
    """Return the verdict's summary, after it why a failure is a known one."""
    because = judgement.because.get(verdict.gate, "") if verdict.status is Status.FAIL else ""
    return f"{verdict.summary}; known failure: {because}" if because else verdict.summary


def conclusion(judged: SetJudgement, exit_code: int, folders: Sequence[Path], page: Path | None) -> RenderableType:
    """Return the table of a set, its one decision, the exit code, and the path of the report."""
    lines: list[RenderableType] = [set_table(judged)]
    lines.append(Text.assemble((judged.decision.value.upper(), DECISIONS[judged.decision]), f"   {judged.why}"))
    where = folders[0] / "report.html" if len(folders) == 1 else page
    lines.append(Text(f"exit code {exit_code}" + (f"   report: {where}" if where else "")))
    return Group(*lines)


def render(recording: Recording, judgement: Judgement) -> str:  # noqa: ARG001  # the signature of every report
    """Return the verdict table as plain text."""
    console = Console(width=120, no_color=True, force_terminal=False)
    with console.capture() as captured:
        console.print(verdict_table(judgement))
        console.print(Text(judgement.sentence))
    return captured.get()
