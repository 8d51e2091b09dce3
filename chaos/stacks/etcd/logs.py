"""Which lines of a member's log tell of trouble that no green status shows. Pure.

etcd writes JSON lines ({"level": "fatal", "msg": …}), the Go runtime plain text (a panic and its goroutines); 3.4
without zap plain text too. In a JSON line only its level, message and error are read: the configuration that etcd
prints at start has keys such as "corrupt-check-time-interval". What it says at info or debug level is no trouble.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_MESSAGE_KEYS = ("msg", "error", "panic", "reason")
_QUIET_LEVELS = ("debug", "info")

SUSPICIOUS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), what)
    for pattern, what in (
        (r"^level=panic|^panic: |\bpanic\b.*\bgoroutine\b", "panic"),
        (r"^fatal error: |^level=fatal|\bC \| ", "fatal"),
        (r"\bSIG(SEGV|BUS|ABRT)\b", "crash"),
        (r"corrupt", "corruption"),
        (r"inconsisten", "inconsistency"),
        (r"out of memory|cannot allocate memory|oom-kill", "out of memory"),
    )
)
"""Pattern and its one-word name. A JSON line is matched as "level=<level> <message> <error>"."""

EXPLAINED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), by)
    for pattern, by in (
        (r"no space left on device|input/output error", "a disk fault"),
        (r"cannot assign requested address|network is (unreachable|down)", "a node without its link"),
        (r"wal: .*(unexpected EOF|crc mismatch)", "power lost in the middle of a write"),
    )
)
"""Suspicious lines that a fault of ours may have caused, and which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A line that somebody should read. `number` counts from 1; `explained_by` names a fault that may cause it."""

    number: int
    line: str
    what: str
    explained_by: str = ""


def suspicious_lines(text: str) -> list[Suspicion]:
    """Return the suspicious lines of a log, in order."""
    found = (_suspicion(number, line) for number, line in enumerate(text.splitlines(), start=1))
    return [suspicion for suspicion in found if suspicion is not None]


def _suspicion(number: int, line: str) -> Suspicion | None:
    essence = _essence(line)
    for pattern, what in SUSPICIOUS:
        if pattern.search(essence):
            by = next((by for p, by in EXPLAINED if p.search(essence)), "")
            return Suspicion(number=number, line=line, what=what, explained_by=by)
    return None


def _essence(line: str) -> str:
    """Return what of a line is to be matched."""
    if not line.startswith("{"):
        return line
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return line  # torn by a kill, or not zap's
    if not isinstance(entry, dict) or entry.get("level") in _QUIET_LEVELS:
        return ""
    return " ".join([f"level={entry.get('level', '')}", *(str(entry[key]) for key in _MESSAGE_KEYS if key in entry)])
