"""Authentication to an etcd that asks for it: a token a member, from Authenticate, sent with every call.

    LoggedIn.call ─▶ token at hand? ──no──▶ /etcdserverpb.Auth/Authenticate, one user at a time; the others wait
                          ╰────────────────▶ the call, with `token: …` in its header

A log-in is a proposal, and a hash that is slow on purpose. A member that restarts has forgotten every token: who is
refused first throws the shared one away, the next user gets a new one, and the others go on with that. So it does not
matter that a user who is refused closes its connection and comes back with another. A token of another member's would
do too, but not where the members can't hear each other.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from workloads import etcd_messages as etcd
from workloads.sabotage import Transport
from workloads.unary import DEADLINE_EXCEEDED, UNAUTHENTICATED, CallError


class Authorized(Transport, Protocol):
    """A transport that can carry a token."""

    def authorize(self, token: str) -> None:
        """Send `token` with every later call; empty: none."""
        ...


@dataclass(slots=True, kw_only=True)
class Login:
    """What all users of one member share, in a process: who they are, and the newest token."""

    user: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False)  # gevent's, in a generator


class LoggedIn:
    """A transport that authenticates first, waiting at most `timeout_s` for another user that does."""

    def __init__(self, inner: Authorized, login: Login, *, timeout_s: float) -> None:
        self._inner = inner
        self._login = login
        self._timeout_s = timeout_s
        self._mine = ""

    def call(self, method: str, message: bytes) -> bytes:
        """Call with the token; after one that is refused the next call authenticates, and this one is not repeated."""
        token = self._login.token or self._renewed()
        if token != self._mine:
            self._inner.authorize(token)
            self._mine = token
        try:
            return self._inner.call(method, message)
        except CallError as error:
            if error.code == UNAUTHENTICATED and self._login.token == token:  # else somebody has a newer one
                self._login.token = ""
            raise

    def _renewed(self) -> str:
        """Return a new token; CallError, not sent, if there is none in time."""
        if not self._login.turn.acquire(timeout=self._timeout_s):
            raise CallError(DEADLINE_EXCEEDED, f"authenticate: no turn within {self._timeout_s:g} s", sent=False)
        try:
            token = self._login.token or self._authenticate()  # the one before us may have got it
            self._login.token = token
            return token
        finally:
            self._login.turn.release()

    def _authenticate(self) -> str:
        self._inner.authorize("")
        self._mine = ""
        asked = etcd.authenticate_request(self._login.user, self._login.password)
        try:
            return etcd.read_token(self._inner.call(etcd.AUTHENTICATE, asked))
        except CallError as error:
            why = f"authenticate as {self._login.user!r}: {error.message}"
            raise CallError(error.code, why, sent=False) from error

    def close(self) -> None:
        """Close."""
        self._inner.close()
