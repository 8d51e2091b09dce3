"""What an error of etcd tells a client of its write: certainly not done, or perhaps done.

    no byte left us ─────────────────────────────▶ FAILED
    answered before the proposal went to Raft ───▶ FAILED   (the rows below, each with its reason)
    everything else ─────────────────────────────▶ UNKNOWN  (it may yet be applied, or was, and the answer got lost)

A write wrongly called failed makes a sound store look broken; wrongly called unknown, it only weakens the check.
So FAILED needs code *and* whole text, and a place in etcd's source from which it can only come too early to
have had an effect. Texts: api/v3rpc/rpctypes/error.go; order of the steps: processInternalRaftRequestOnce in
server/etcdserver/v3_server.go, and apply.go, read at v3.5.35 and v3.6.16.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from chaos.model import Outcome


class Code(enum.IntEnum):
    """The status codes of gRPC (grpc/grpc: doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One error: its code, its whole text (empty: any text), what it means for a write, and why."""

    code: Code
    message: str = ""
    outcome: Outcome
    why: str


def _failed(code: Code, message: str, why: str) -> Row:
    return Row(code=code, message=message, outcome=Outcome.FAILED, why=why)


def _unknown(code: Code, message: str, why: str) -> Row:
    return Row(code=code, message=message, outcome=Outcome.UNKNOWN, why=why)


_CHECKED = "refused by the request check, before it was proposed"
_AT_APPLY = "refused by every member alike before its effect, under the same log entry"

ROWS: tuple[Row, ...] = (
    # refused before it was proposed
    _failed(Code.INVALID_ARGUMENT, "etcdserver: key is not provided", _CHECKED),
    _failed(Code.INVALID_ARGUMENT, "etcdserver: value is provided", _CHECKED),
    _failed(Code.INVALID_ARGUMENT, "etcdserver: lease is provided", _CHECKED),
    _failed(Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", _CHECKED),
    _failed(Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", _CHECKED),
    _failed(Code.INVALID_ARGUMENT, "etcdserver: request is too large", "measured before it was proposed"),
    _failed(
        Code.RESOURCE_EXHAUSTED,
        "etcdserver: too many requests",
        "the member's applied index lags; nothing was proposed",
    ),
    _failed(Code.UNAVAILABLE, "etcdserver: no leader", "the has-leader check runs before the handler"),
    _failed(Code.UNAVAILABLE, "etcdserver: not capable", "the interceptor refused it before the handler"),
    _failed(Code.FAILED_PRECONDITION, "etcdserver: not capable", "the same, as 3.6 words it"),
    _failed(Code.UNAVAILABLE, "etcdserver: rpc not supported for learner", "the interceptor refused it"),
    _failed(Code.FAILED_PRECONDITION, "etcdserver: rpc not supported for learner", "the same, as 3.6 words it"),
    _failed(Code.UNKNOWN, "raft proposal dropped", "Raft's own word for: not appended, on the member that was asked"),
    _failed(Code.UNIMPLEMENTED, "", "no handler ran"),
    # who are you
    _failed(Code.UNAUTHENTICATED, "etcdserver: invalid auth token", "the token is read before the proposal"),
    _failed(Code.INVALID_ARGUMENT, "etcdserver: user name is empty", "the token is read before the proposal"),
    _failed(
        Code.INVALID_ARGUMENT,
        "etcdserver: authentication failed, invalid user ID or password",
        "no write was asked for",
    ),
    _failed(Code.PERMISSION_DENIED, "etcdserver: permission denied", _AT_APPLY),
    _failed(Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", _AT_APPLY),
    # reads of a revision that is not there
    _failed(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", "only reads name a revision"),
    _failed(
        Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", "only reads name a revision"
    ),
    # may have been done
    _unknown(
        Code.RESOURCE_EXHAUSTED,
        "etcdserver: mvcc: database space exceeded",
        "quotaApplierV3.Put returns it *after* the put that filled the quota was applied",
    ),
    _unknown(Code.UNAVAILABLE, "etcdserver: leader changed", "the proposal may be in the new leader's log"),
    _unknown(Code.UNAVAILABLE, "etcdserver: request timed out", "proposed; not seen applied in time"),
    _unknown(
        Code.UNAVAILABLE,
        "etcdserver: request timed out, possibly due to previous leader failure",
        "proposed; it may survive in the next leader's log",
    ),
    _unknown(
        Code.UNAVAILABLE,
        "etcdserver: request timed out, possibly due to connection lost",
        "proposed to a leader out of sight",
    ),
    _unknown(
        Code.UNAVAILABLE,
        "etcdserver: request timed out, waiting for the applied index took too long",
        "the member did not catch up in time",
    ),
    _unknown(Code.UNAVAILABLE, "etcdserver: server stopped", "the member stopped while the proposal was on its way"),
    _unknown(Code.DATA_LOSS, "etcdserver: corrupt cluster", "members may differ in what they applied"),
    _unknown(Code.UNAVAILABLE, "", "the connection broke or the server went away after the request had left"),
    _unknown(Code.DEADLINE_EXCEEDED, "", "no answer within the deadline"),
    _unknown(Code.CANCELLED, "", "given up while the request was on its way"),
    _unknown(Code.INTERNAL, "", "the stream was reset or the answer was garbled"),
    _unknown(Code.UNKNOWN, "", "an error that the server has no code for"),
)
_BY_TEXT = {(int(row.code), row.message): row for row in ROWS}


def outcome(code: int, message: str, sent: bool) -> tuple[Outcome, str]:
    """Return what a client knows of its operation after gRPC status `code` with `message`, and why.

    `sent` is whether the first byte of the request may have left the client. Pure.
    """
    if code == Code.OK:
        return Outcome.OK, "answered"
    if not sent:
        return Outcome.FAILED, "no byte of the request left the client"
    row = _BY_TEXT.get((code, message)) or _BY_TEXT.get((code, ""))
    if row is None:
        return Outcome.UNKNOWN, "no row of this table says that it had no effect"
    return row.outcome, row.why
