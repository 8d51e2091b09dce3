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

from chaos.model import Outcome, Status, Verdict
from chaos.units import counted
from gates.wording import inconclusive, listed, too_few

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Every acknowledged put of a write-once key is found by the final reads, and no refused one is.

    `writes_min`: fewer acknowledged ones can't tell, be it in the run or since the first fault was injected.
    """

    writes_min: int = 20

    def __post_init__(self) -> None:
        if self.writes_min < 1:
            raise ValueError(f"writes-min: {self.writes_min} would let silence pass; write 1 or more")

    def judge(self, recording: Recording) -> Verdict:
        """Compare each put of a write-once key with the read after the drain; a loss is certain in any run."""
        writes = _writes(recording.samples)
        reads = _reads(recording.final)
        wrong = [found for write in writes if write["key"] in reads and (found := _wrong(write, reads[write["key"]]))]
        acknowledged = {write["key"]: write["return_ns"] for write in writes if write["outcome"] == Outcome.OK}
        unread = sorted(acknowledged.keys() - reads.keys())
        numbers = {"n": len(acknowledged), "read": len(reads), "unread": len(unread), "wrong": len(wrong)}
        if wrong:
            return _lost(wrong, numbers)
        if why := self._why_no_pass(recording, acknowledged, unread):
            return inconclusive(why, **numbers)
        summary = f"read back: {counted(len(acknowledged), 'acknowledged write')}"
        return Verdict(status=Status.PASS, summary=summary, numbers=numbers)

    def _why_no_pass(self, recording: Recording, acknowledged: Mapping[str, int], unread: list[str]) -> str:
        """Say what is missing though nothing is wrong; `acknowledged`: key → when its put was answered, in ns."""
        if not acknowledged:
            return "no put of a write-once key was acknowledged; give the workload a share of `once`"
        if unread:
            return f"{len(unread):,} of {len(acknowledged):,} acknowledged keys were not read back: {listed(unread)}"
        if not recording.final_complete:
            return "the final reads are incomplete: a generator did not close, or did not finish them"
        return too_few(recording, acknowledged.values(), self.writes_min, "acknowledged writes of write-once keys")


def _writes(samples: pa.Table) -> list[dict[str, Any]]:
    import pyarrow.compute as pc  # noqa: PLC0415  # with pyarrow a third of what reading an experiment would cost

    once = pc.match_substring_regex(samples["key"], WRITE_ONCE)
    put = pc.equal(samples["op"].cast("string"), "put")
    names = ["key", "value", "outcome", "endpoint", "revision", "call_ns", "return_ns", "client"]
    rows: list[dict[str, Any]] = samples.filter(pc.and_(once, put)).select(names).to_pylist()
    return rows


def _reads(final: pa.Table | None) -> dict[str, str | None]:
    """Key → value of the newest answered read; a serializable one may be stale and proves nothing."""
    if final is None:
        return {}
    import pyarrow.compute as pc  # noqa: PLC0415  # as above

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
