"""Which lines of a broker's log tell of trouble that no answer shows. Pure.

    2026-01-31T12:00:00,123+0100 FATAL KafkaRaftServer - Exiting Kafka …     our own layout, see settings.LOG4J
    # A fatal error has been detected by the Java Runtime Environment         the JVM's own words

That connections break while brokers are away is said at INFO and WARN, and is no trouble.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chaos.model import Power, Signal
from chaos.stacks import logs

if TYPE_CHECKING:
    from chaos.model import Suspicion

SUSPICIOUS = logs.suspicious(
    (
        (r"^\S+ FATAL ", "fatal"),
        (r"Encountered fatal fault|fatal error|Exiting Kafka due to|Halting|halting", "fatal"),
        (r"OutOfMemoryError|There is insufficient memory for the Java Runtime", "out of memory"),
        (r"SIG(SEGV|BUS|ABRT|ILL)\b.* at pc=", "crash"),
        (r"[Cc]orrupt(ed|ion| )|CorruptRecordException|CorruptIndexException|InvalidRecordException", "corruption"),
        (r"^\S+ ERROR .*(log dir|LogDirFailureChannel|KafkaStorageException)", "log directory"),
        (r"^\S+ ERROR .*(Uncaught exception|uncaught exception|Unexpected exception|unexpected shutdown)", "exception"),
        (r"There is insufficient|No space left on device", "disk"),
        (r"[Tt]runcat\w+ .*(below|beyond|past).*high ?watermark", "truncation"),
    )
)
"""Pattern and its one-word name; matched against the whole line."""

EXPLAINED = logs.explained(
    (
        # Index files are written through mmap and rebuilt from the log after an end that nobody announced.
        (r"[Cc]orrupt\w* index|CorruptIndexException", (Signal.kind, Power.kind)),
        (r"[Cc]orrupt|InvalidRecordException", (Power.kind,)),  # it went in the middle of a write
        (r"Network is unreachable|Cannot assign requested address", (Power.kind,)),  # the link goes first
    )
)
"""Suspicious lines that an action of ours may have caused, and its kinds. Packets lost or late explain none of them."""


def suspicious_lines(text: str) -> list[Suspicion]:
    """Return the suspicious lines of a log, in order."""
    return logs.find(text, SUSPICIOUS, EXPLAINED, essence=_essence, at_s=_at_s)


def version_of(text: str) -> str:
    """Return the version that a broker told of when it was started last; "" if it has not."""
    said = re.findall(r" AppInfoParser - Kafka version: (\S+)", text)
    return str(said[-1]) if said else ""


def _essence(line: str) -> str:
    r"""Leave out the settings that a broker prints at start, "\tname = value"."""
    return "" if line.startswith("\t") and " = " in line else line


def _at_s(line: str) -> float | None:
    """Return when a line was written; None for one of the JVM's."""
    return logs.seconds_of(line.split(" ", 1)[0])
