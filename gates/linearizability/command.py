"""`chaosgate check linearizable HISTORY.jsonl`: the answer, the reason, and the witness as a drawing.

illegal: key "x": …

  line  client
     1       0  put "a"         ├──┤
     2       1  put "b"              ├──┤
     3       2  get → "a"                ├──┤
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gates.linearizability.checker import BUDGET_BYTES, check
from gates.linearizability.history import UNRECORDED, History, Operation
from gates.linearizability.result import Answer, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

EXIT = {Answer.OK: 0, Answer.ILLEGAL: 10, Answer.UNKNOWN: 11}
DRAWN_MAX = 40  # operations of a witness
AXIS_MAX = 60  # characters of the time axis


def main_check(path: Path, budget_s: float, out: TextIO, *, budget_bytes: int = BUDGET_BYTES) -> int:
    """Check a file, print the answer to `out`, and return the exit code; UsageError if the file is wrong."""
    result = check(History.read(path), budget_s=budget_s, budget_bytes=budget_bytes)
    out.writelines(line + "\n" for line in lines(result))
    return EXIT[result.answer]


def lines(result: Result) -> Iterator[str]:
    """Yield the answer as text."""
    if result.answer is Answer.OK:
        yield f"ok: {result.operations:,} operations on {result.keys:,} keys; {result.reason}"
        return
    yield f"{result.answer.value}: {result.reason}"
    if result.witness:
        yield ""
        yield from drawing(result.witness)


def drawing(witness: Sequence[Operation]) -> Iterator[str]:
    """Draw operations as spans on one axis, which keeps the order of calls and returns but not their distances."""
    shown = witness[:DRAWN_MAX]
    column = _columns(shown)
    texts = [str(operation) for operation in shown]
    width = max(map(len, texts))
    yield f"  {'line':>7}  {'client':>8}"
    for operation, text in zip(shown, texts, strict=True):
        place = "lost" if operation.place == UNRECORDED else str(operation.place)
        yield f"  {place:>7}  {operation.client!s:>8}  {text:<{width}}  {_span(operation, column)}"
    if len(witness) > len(shown):
        yield f"  … and {len(witness) - len(shown)} more"


def _columns(shown: Sequence[Operation]) -> dict[int | None, int]:
    """Give every distinct time a column of the axis; None, never, is the last."""
    times = {o.call_ns for o in shown} | {o.return_ns for o in shown if o.return_ns is not None}
    step = max(1, min(4, AXIS_MAX // (len(times) + 1)))
    column: dict[int | None, int] = {at: step * place for place, at in enumerate(sorted(times))}
    return {**column, None: step * len(times)}


def _span(operation: Operation, column: dict[int | None, int]) -> str:
    known = operation.return_ns if operation.outcome.name == "OK" else None
    start, end = column[operation.call_ns], column[known]
    if start == end:
        return " " * start + "│"
    return " " * start + "├" + "─" * (end - start - 1) + ("┤" if known is not None else "…")
