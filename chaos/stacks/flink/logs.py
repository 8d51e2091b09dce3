"""Which lines of a process's log tell of trouble that no green status shows. Pure.

A line of ours is "2026-11-21T18:35:00.000+00:00 LEVEL Logger - message"; the JVM's own are plain text. Flink reports
failures of tasks at INFO and WARN: those are what it recovers from, and for the gates. Here is what it gives up on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chaos.model import Power, Signal
from chaos.stacks import logs

if TYPE_CHECKING:
    from chaos.model import Suspicion

_LINE = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))\s+([A-Z]+)\s")

SUSPICIOUS = logs.suspicious(
    (
        (r"^\S+ FATAL\b", "fatal"),
        (r"(?i)^\S+ ERROR .*fatal error occurred", "fatal"),
        (r"FATAL: Thread '.*' produced an uncaught exception", "fatal"),
        (r"java\.lang\.OutOfMemoryError|Terminating due to java\.lang\.OutOfMemoryError", "out of memory"),
        (r"^# A fatal error has been detected by the Java Runtime Environment|\bSIG(SEGV|BUS|ABRT)\b", "crash"),
        (r"(?i)checksum|corrupt(ed)? (state|checkpoint|savepoint)|StateMigrationException", "corruption"),
        (r"java\.lang\.(NoClassDefFoundError|NoSuchMethodError|LinkageError)", "mixed versions"),
        (r"Caused by: .*InvalidTxnStateException|InvalidProducerEpochException.*fatal", "transaction lost"),
    )
)
"""Pattern and its name in a word or two."""

EXPLAINED = logs.explained(
    (
        # Beaten to it by another, or cut off from ZooKeeper: a JobManager or TaskManager ends itself on purpose.
        (r"(?i)fatal error occurred.*(ResourceManager|registration|leader|ZooKeeper)", (Power.kind, Signal.kind)),
    )
)
"""Suspicious lines that an action of ours may have caused, and its kinds."""


def suspicious_lines(text: str) -> list[Suspicion]:
    """Return the suspicious lines of a log, in order."""
    return logs.find(text, SUSPICIOUS, EXPLAINED, essence=_essence, at_s=_at_s)


def _essence(line: str) -> str:
    """Leave out lines that say of themselves that they are no trouble."""
    found = _LINE.match(line)
    return "" if found is not None and found[2] in ("TRACE", "DEBUG", "INFO") else line


def _at_s(line: str) -> float | None:
    """Return when a line was written; None for one without a time."""
    found = _LINE.match(line)
    return logs.seconds_of(found[1]) if found else None
