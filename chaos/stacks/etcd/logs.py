"""Which lines of a member's log tell of trouble that no green status shows. Pure.

etcd writes JSON lines ({"level": "fatal", "msg": …}), the Go runtime plain text (a panic and its goroutines); 3.4
without zap plain text too. In a JSON line only its level, message and error are read: the configuration that etcd
prints at start has keys such as "corrupt-check-time-interval". What it says at info or debug level is no trouble.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from chaos.model import Power
from chaos.stacks import logs

if TYPE_CHECKING:
    from chaos.model import Suspicion

_MESSAGE_KEYS = ("msg", "error", "panic", "reason")
_QUIET_LEVELS = ("debug", "info")

SUSPICIOUS = logs.suspicious(
    (
        (r"^level=panic|^panic: |\bpanic\b.*\bgoroutine\b", "panic"),
        (r"^fatal error: |^level=fatal|\bC \| ", "fatal"),
        (r"\bSIG(SEGV|BUS|ABRT)\b", "crash"),
        (r"corrupt", "corruption"),
        (r"inconsisten", "inconsistency"),
        (r"out of memory|cannot allocate memory|oom-kill", "out of memory"),
    ),
    re.IGNORECASE,
)
"""Pattern and its one-word name. A JSON line is matched as "level=<level> <message> <error>"."""

EXPLAINED = logs.explained(
    (
        (r"cannot assign requested address|network is (unreachable|down)", (Power.kind,)),  # the link goes first
        (r"wal: .*(unexpected EOF|crc mismatch)", (Power.kind,)),  # it went in the middle of a write
    ),
    re.IGNORECASE,
)
"""Suspicious lines that an action of ours may have caused, and its kinds. Packets lost or late explain none of them."""


def suspicious_lines(text: str) -> list[Suspicion]:
    """Return the suspicious lines of a log, in order."""
    return logs.find(text, SUSPICIOUS, EXPLAINED, essence=_essence, at_s=_at_s)


def _entry(line: str) -> Any:
    """Return what a JSON line holds; None for a line that was torn by a kill, or is not zap's."""
    try:
        return json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None


def _at_s(line: str) -> float | None:
    """Return when a JSON line was written; None for one that names no zone, as plain text never does."""
    entry = _entry(line)
    return logs.seconds_of(str(entry.get("ts"))) if isinstance(entry, dict) else None


def _essence(line: str) -> str:
    """Return what of a line is to be matched."""
    entry = _entry(line)
    if entry is None:
        return line
    if not isinstance(entry, dict) or entry.get("level") in _QUIET_LEVELS:
        return ""
    return " ".join([f"level={entry.get('level', '')}", *(str(entry[key]) for key in _MESSAGE_KEYS if key in entry)])
