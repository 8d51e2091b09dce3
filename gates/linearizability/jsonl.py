"""HISTORY.jsonl: one operation a line, as any test harness can write it.

    {"client": 3, "op": "cas", "key": "x", "value": "b", "expect": "a", "swapped": true,
     "call_ns": 1, "return_ns": 2, "outcome": "ok"}

Everything that is wrong in a file is found in one reading, and each problem says file:line, what, and what would do.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chaos.errors import UsageError
from chaos.guess import nearest
from chaos.model import Outcome
from gates.linearizability.history import APPEND, CAS, GET, NEVER, OPS, History, Row, columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROBLEMS_SHOWN = 50
_OPS = {name: code for code, name in enumerate(OPS)}
_OUTCOMES = {outcome.name.lower(): int(outcome) for outcome in Outcome}
_OK, _LAST = int(Outcome.OK), NEVER - 1


class _WrongLineError(ValueError):
    """A line is not an operation."""


def history_from(path: Path) -> History:
    """Read a file of operations; UsageError with every problem, or if the file can't be read."""
    problems: list[tuple[int, str]] = []
    try:
        with path.open(encoding="utf-8") as lines:
            history = columns(list(_rows(lines, problems)))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read: {error}; give a text file of one JSON operation a line") from error
    problems += _mixed_with_appends(history)
    if problems:
        raise UsageError("\n".join(_report(path, sorted(problems))))
    return history


def _report(path: Path, problems: list[tuple[int, str]]) -> Iterator[str]:
    for line, what in problems[:PROBLEMS_SHOWN]:
        yield f"{path}:{line}: {what}"
    if (more := len(problems) - PROBLEMS_SHOWN) > 0:
        yield f"{path}: and {more} more lines are wrong"


def _rows(lines: Iterator[str], problems: list[tuple[int, str]]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            yield _row(_object(line), number)
        except _WrongLineError as wrong:
            problems.append((number, str(wrong)))


def _no_constant(name: str) -> NoReturn:
    raise _WrongLineError(f"{name} is not JSON; write a number, text, or null")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def _object(line: str) -> dict[str, Any]:
    try:
        found = _decode(line)
    except json.JSONDecodeError as error:
        raise _WrongLineError(
            f"not JSON: {error.msg} at column {error.colno}; write one whole operation a line"
        ) from error
    except RecursionError as error:
        raise _WrongLineError("lists or objects are nested too deeply; write values as text") from error
    if type(found) is not dict:
        raise _WrongLineError(
            f'not an operation; write an object such as {{"client": 3, "op": "get", …}}, not {line.strip()[:40]}'
        )
    return found


def _row(fields: dict[str, Any], number: int) -> Row:
    """Turn one line's object into a row; _WrongLineError for the first thing that is missing or can't be."""
    op = _one_of(fields, "op", _OPS)
    outcome = _one_of(fields, "outcome", _OUTCOMES)
    call, returned = _times(fields, outcome)
    swapped = fields.get("swapped")
    if op == CAS and outcome == _OK and type(swapped) is not bool:
        raise _WrongLineError(f'a cas that is ok says "swapped": true or false, not {json.dumps(swapped)}')
    return (
        _label(fields, "key"),
        _label(fields, "client"),
        op,
        _field(fields, "value") if op != GET or outcome == _OK else fields.get("value"),
        _field(fields, "expect") if op == CAS else None,
        bool(swapped),
        call,
        returned,
        outcome,
        number,
    )


def _field(fields: dict[str, Any], name: str) -> Any:
    if name in fields:
        return fields[name]
    near = nearest(name, fields)
    hint = f"; is {near!r} meant?" if near else f"; add {json.dumps(name)}"
    raise _WrongLineError(f"{fields.get('op') or 'the operation'} has no {name!r}{hint}")


def _one_of(fields: dict[str, Any], name: str, known: dict[str, int]) -> int:
    found = _field(fields, name)
    code = known.get(found) if type(found) is str else None
    if code is None:
        near = nearest(str(found), known)
        raise _WrongLineError(
            f"no such {name} {json.dumps(found)}; {f'is {near!r} meant?' if near else _either(known)}"
        )
    return code


def _either(known: dict[str, int]) -> str:
    return f"it is one of {', '.join(known)}"


def _label(fields: dict[str, Any], name: str) -> str | int:
    label = _field(fields, name)
    if type(label) is str or type(label) is int:
        return label
    raise _WrongLineError(f"{name!r} is {json.dumps(label)[:40]}; it is text or a whole number")


def _times(fields: dict[str, Any], outcome: int) -> tuple[int, int]:
    call, returned = _field(fields, "call_ns"), _field(fields, "return_ns")
    if type(call) is not int or not -_LAST <= call <= _LAST:
        raise _WrongLineError(f"'call_ns' is {json.dumps(call)[:40]}; it is whole nanoseconds (64 bits)")
    if returned is None:
        if outcome == _OK:
            raise _WrongLineError(
                'an operation that is ok has returned: give \'return_ns\', or say "outcome": "unknown"'
            )
        return call, NEVER
    if type(returned) is not int or not -_LAST <= returned <= _LAST:
        raise _WrongLineError(f"'return_ns' is {json.dumps(returned)[:40]}; it is whole nanoseconds (64 bits), or null")
    if outcome == _OK and returned < call:
        raise _WrongLineError(
            f"returned at {returned}, before its call at {call}; are the two swapped, or of two clocks?"
        )
    return call, returned


def _mixed_with_appends(history: History) -> Iterator[tuple[int, str]]:
    """Yield the operations that can't be part of an append-history: there every value is text."""
    appended = np.isin(history.key, np.unique(history.key[history.op == APPEND]))
    for row in np.flatnonzero(appended):
        operation = history.operation(int(row))
        needed = () if operation.value is None and operation.op != "append" else (operation.value,)
        expected = () if operation.expect is None else (operation.expect,)
        strange = [json.dumps(value)[:40] for value in (*needed, *expected) if type(value) is not str]
        if strange and operation.outcome is not Outcome.FAILED:
            what = f"{operation.op} of {strange[0]} on {operation.key!r}, a key with appends"
            yield operation.place, f"{what}: its values are text; write text, or use another key"
