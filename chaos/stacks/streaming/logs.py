"""Which lines of a log tell of trouble, by the reader of whose log it is. Pure.

Kafka's and Flink's layouts are ours: Kafka's seconds have a comma, Flink's a point. A broker's log begins with Kafka's.
etcd's lines are JSON.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chaos.stacks.etcd import logs as etcd
from chaos.stacks.flink import logs as flink
from chaos.stacks.kafka import logs as kafka

if TYPE_CHECKING:
    from chaos.model import Suspicion

_FIRST = re.compile(r'^(?:\d{4}-\d\d-\d\dT[\d:]+([,.])\d|(\{)"level":)', re.MULTILINE)
_READERS = {",": kafka.suspicious_lines, ".": flink.suspicious_lines, "{": etcd.suspicious_lines}


def suspicious_lines(text: str) -> list[Suspicion]:
    """Return the suspicious lines of a log, in order."""
    first = _FIRST.search(text)
    return _READERS[first[1] or first[2] if first else "."](text)
