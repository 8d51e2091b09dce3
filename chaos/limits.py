"""When a run must end before its time: the limits of `abort-when`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.clock import NS
from chaos.model import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model import AbortWhen, LoadStatus

RECENT_NS = 6 * NS  # statuses come once a second: five seconds lie between the first and the last of six


def why_abort(limits: AbortWhen, statuses: Sequence[LoadStatus], quorum_lost_s: float, now_ns: int) -> str:
    """Return which limit of errors or quorum is exceeded and by what; empty if none is."""
    share = error_share([status for status in statuses if status.at_ns > now_ns - RECENT_NS])
    if limits.error_share is not None and share is not None and share > limits.error_share:
        return f"error share {share:.0%} over the last 5 s, limit {limits.error_share:.0%}"
    if limits.quorum_lost_s is not None and quorum_lost_s > limits.quorum_lost_s:
        return f"quorum lost for {quorum_lost_s:.1f} s, limit {limits.quorum_lost_s:g} s"
    return ""


def error_share(statuses: Sequence[LoadStatus]) -> float | None:
    """Return the share of operations between the first and last status that were not ok; None if there were none.

    Of two loads it is the worse one's: one that works does not make up for one that does not.
    """
    if len(statuses) < 2:
        return None
    first, last = statuses[0], statuses[-1]
    pairs = [(first.parts[name], said) for name, said in last.parts.items() if name in first.parts]
    shares = [_share(*pair) for pair in pairs or [(to_json(first), to_json(last))]]
    return max((share for share in shares if share is not None), default=None)


def _share(first: Mapping[str, int], last: Mapping[str, int]) -> float | None:
    bad = sum(last[name] - first[name] for name in ("failed", "unknown"))
    everything = bad + last["ok"] - first["ok"]
    return bad / everything if everything else None
