"""What an injection tells, awaited."""

from __future__ import annotations

import time
from queue import Empty

PATIENCE_S = 40.0


def evidence_of(injection, phase, proof=None, *, within_s=PATIENCE_S):
    """Wait for the next evidence of a phase (and proof)."""
    until = time.monotonic() + within_s
    seen = []
    while time.monotonic() < until:
        try:
            one = injection.events.get(timeout=1)
        except Empty:
            continue
        seen.append(one)
        if one.phase == phase and proof in (None, one.proof):
            return one
    raise AssertionError(f"no {proof or 'evidence'} in phase {phase}; seen: {seen}")
