"""No acknowledged write is lost: what a client was told is stored is there when everything has calmed down.

    put run/o/17 = "a" ─▶ ok          …faults…          final read run/o/17 ─▶ "a"      kept
                       ─▶ ok                                                ─▶ absent   LOST
                       ─▶ unknown                                           ─▶ either   fine
                       ─▶ failed                                            ─▶ "a"      it was never to have an effect

Only write-once keys (class "o") can show it: on a key that is overwritten, only the last value can be missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.compute as pc

from chaos.model import Outcome, Status, Verdict
from gates.wording import counted, inconclusive, listed

if TYPE_CHECKING:
    import pyarrow as pa

    from chaos.recording import Recording

WRITE_ONCE = r"/o/[^/]*$"  # keys are "<run id>/<class>/<n>"
SHOWN = 20


class _Wrong(NamedTuple):
    what: str
    write: dict[str, Any]
    read: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgedWrites:
    """Every acknowledged put of a write-once key is found by the final reads, and no refused one is."""

    def judge(self, recording: Recording) -> Verdict:
        """Compare each put of a write-once key with the read after the drain; a loss is certain in any run."""
        writes = _writes(recording.samples)
        reads = _reads(recording.final)
        wrong = [found for write in writes if write["key"] in reads and (found := _wrong(write, reads[write["key"]]))]
        acknowledged = [write["key"] for write in writes if write["outcome"] == Outcome.OK]
        unread = sorted(set(acknowledged) - set(reads))
        numbers = {"n": len(acknowledged), "read": len(reads), "unread": len(unread), "wrong": len(wrong)}
        if wrong:
            return _lost(wrong, numbers)
        if not acknowledged:
            return inconclusive(
                "no put of a write-once key was acknowledged; give the workload a share of `once`", **numbers
            )
        if unread:
            return inconclusive(
                f"{len(unread):,} of {len(acknowledged):,} acknowledged keys were not read back: {listed(unread)}",
                **numbers,
            )
        if not recording.final_complete:
            return inconclusive(
                "the final reads are incomplete: a generator did not close, or did not finish them", **numbers
            )
        return Verdict(
            status=Status.PASS,
            summary=f"read back: {counted(len(acknowledged), 'acknowledged write')}",
            numbers=numbers,
        )


def _writes(samples: pa.Table) -> list[dict[str, Any]]:
    once = pc.match_substring_regex(samples["key"], WRITE_ONCE)
    put = pc.equal(samples["op"].cast("string"), "put")
    names = ["key", "value", "outcome", "endpoint", "revision", "call_ns", "return_ns", "client"]
    rows: list[dict[str, Any]] = samples.filter(pc.and_(once, put)).select(names).to_pylist()
    return rows


def _reads(final: pa.Table | None) -> dict[str, str | None]:
    """Key → value of the newest answered read; a serializable one may be stale and proves nothing."""
    if final is None:
        return {}
    answered = pc.equal(final["outcome"], int(Outcome.OK))
    fresh = pc.not_equal(final["consistency"].cast("string"), "serializable")
    rows = final.filter(pc.and_(answered, fresh)).select(["key", "value"])
    return dict(zip(rows["key"].to_pylist(), rows["value"].to_pylist(), strict=True))


def _wrong(write: dict[str, Any], read: str | None) -> _Wrong | None:
    if write["outcome"] == Outcome.OK and read is None:
        return _Wrong("lost", write, read)
    if read is not None and read != write["value"]:
        return _Wrong("altered", write, read)
    if write["outcome"] == Outcome.FAILED and read is not None:
        return _Wrong("refused, yet there", write, read)
    return None


def _lost(wrong: list[_Wrong], numbers: dict[str, Any]) -> Verdict:
    first = wrong[0]
    answer = "refused" if first.write["outcome"] == Outcome.FAILED else "acknowledged"
    revision = f" at revision {first.write['revision']}" if first.write["revision"] is not None else ""
    found = "nothing" if first.read is None else repr(first.read)
    summary = (
        f"{len(wrong):,} of {numbers['n']:,} acknowledged writes are not as clients were told; {first.what}: "
        f"{first.write['key']} = {first.write['value']!r}, {answer} by {first.write['endpoint']}{revision}, "
        f"the final read found {found}"
    )
    rows = [{"what": one.what, **one.write, "read": one.read} for one in wrong[:SHOWN]]
    return Verdict(status=Status.FAIL, summary=summary, numbers=numbers | {"writes": rows}, certain=True)
