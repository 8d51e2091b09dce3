"""One file a gate: settings as a frozen dataclass, and `judge`, a pure function of a recording.

    latency  throughput  errors  recovery                    from samples, by window, with intervals
    acknowledged-writes  replicas-equal  linearizable        invariants: a violation is certain
    no-unexpected-exit                                       processes and their logs
    validity (implied)  ──▶  judge.py  ──▶  promote | hold | cannot tell

Fields are YAML keys: `*_s` a duration, `*_share` a percentage, `*_per_s` a rate, `during` a span. Strangers' gates come
from entry points of the group "chaosgate.gates"; a name that is taken is an error.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from gates.acknowledged_writes import AcknowledgedWrites
from gates.errors import Errors
from gates.latency import Latency
from gates.linearizable import Linearizable
from gates.no_unexpected_exit import NoUnexpectedExit
from gates.recovery import Recovery
from gates.replicas_equal import ReplicasEqual
from gates.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.metadata import EntryPoint

    from chaos.ports import Gate

OWN: Mapping[str, type[Gate]] = {
    "latency": Latency,
    "throughput": Throughput,
    "errors": Errors,
    "recovery": Recovery,
    "acknowledged-writes": AcknowledgedWrites,
    "replicas-equal": ReplicasEqual,
    "linearizable": Linearizable,
    "no-unexpected-exit": NoUnexpectedExit,
}


def merged(own: Mapping[str, type[Gate]], strangers: Iterable[EntryPoint]) -> dict[str, type[Gate]]:
    """Return the table with strangers' gates; UsageError for a name that is taken or a gate that can't be loaded."""
    table = dict(own)
    for entry in strangers:
        package = entry.dist.name if entry.dist else "an unknown package"
        if entry.name in table:
            raise UsageError(f"gate {entry.name!r} of {package} ({entry.value}): the name is taken; rename it there")
        try:
            table[entry.name] = entry.load()
        except (ImportError, AttributeError) as error:
            why = f"gate {entry.name!r} of {package} ({entry.value}) can't be loaded: {error}; uninstall it or mend it"
            raise UsageError(why) from error
    return table


GATES: Mapping[str, type[Gate]] = merged(OWN, entry_points(group="chaosgate.gates"))
