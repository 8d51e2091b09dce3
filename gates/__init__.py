"""One file a gate: settings as a frozen dataclass, and `judge`, a pure function of a recording.

    latency  throughput  errors  recovery                    from samples, by window, with intervals
    acknowledged-writes  replicas-equal  linearizable        invariants: a violation is certain
    ledger                                                   exactly once, from the logs before and behind a job
    output-latency  output-continues                         what a reader that follows the output sees
    lag  checkpoints  restarts  orphaned-transactions        a job's and its logs' own counters
    no-unexpected-exit                                       processes and their logs
    validity (implied)  ──▶  judge.py  ──▶  promote | hold | cannot tell

Fields are YAML keys: `*_s` a duration, `*_share` a percentage, `*_per_s` a rate, `during` a span. A gate that needs
more windows says so, `needs`: span → seconds; a plan that can't have them is refused. Strangers' gates come
from entry points of the group "chaosgate.gates"; a name that is taken is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.registry import Table
from gates.acknowledged_writes import AcknowledgedWrites
from gates.checkpoints import Checkpoints
from gates.errors import Errors
from gates.lag import Lag
from gates.latency import Latency
from gates.ledger import Ledger
from gates.linearizable import Linearizable
from gates.no_unexpected_exit import NoUnexpectedExit
from gates.orphaned_transactions import OrphanedTransactions
from gates.output_continues import OutputContinues
from gates.output_latency import OutputLatency
from gates.output_recovery import OutputRecovery
from gates.recovery import Recovery
from gates.replicas_equal import ReplicasEqual
from gates.restarts import Restarts
from gates.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.ports import Gate

OWN: Mapping[str, type[Gate]] = {
    "latency": Latency,
    "throughput": Throughput,
    "errors": Errors,
    "recovery": Recovery,
    "acknowledged-writes": AcknowledgedWrites,
    "replicas-equal": ReplicasEqual,
    "linearizable": Linearizable,
    "ledger": Ledger,
    "output-latency": OutputLatency,
    "output-continues": OutputContinues,
    "output-recovery": OutputRecovery,
    "lag": Lag,
    "checkpoints": Checkpoints,
    "restarts": Restarts,
    "orphaned-transactions": OrphanedTransactions,
    "no-unexpected-exit": NoUnexpectedExit,
}


GATES: Mapping[str, type[Gate]] = Table(OWN, "chaosgate.gates")
