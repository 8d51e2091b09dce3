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

_ZAP = re.compile(r'^\{"level":', re.MULTILINE)
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT[\d:]+([,.])\d", re.MULTILINE)


def suspicious_lines(text: str) -> list[Suspicion]:
    """Return the suspicious lines of a log, in order."""
    if _ZAP.search(text):
        return etcd.suspicious_lines(text)
    first = _TIME.search(text)
    return kafka.suspicious_lines(text) if first and first[1] == "," else flink.suspicious_lines(text)
