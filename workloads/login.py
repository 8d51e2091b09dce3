"""Authentication to an etcd that asks for it: a token a process, from Authenticate, sent with every call.

LoggedIn.call ─▶ token at hand? ──no──▶ /etcdserverpb.Auth/Authenticate
                      ╰────────────────▶ the call, with `token: …` in its header
"""

from __future__ import annotations

from typing import Protocol

from workloads import etcd_messages as etcd
from workloads.sabotage import Transport
from workloads.unary import UNAUTHENTICATED, CallError


class Authorized(Transport, Protocol):
    """A transport that can carry a token."""

    def authorize(self, token: str) -> None:
        """Send `token` with every later call; empty: none."""
        ...


class LoggedIn:
    """A transport that authenticates first: etcd wants a token, which all users of a process share."""

    def __init__(self, inner: Authorized, name: str, password: str, tokens: dict[str, str]) -> None:
        self._inner = inner
        self._name = name
        self._password = password
        self._tokens = tokens
        self._mine = ""

    def call(self, method: str, message: bytes) -> bytes:
        """Call with the token; one that is refused is forgotten, and the call is not made again."""
        token = self._tokens.get(self._name) or self._authenticate()
        if token != self._mine:
            self._inner.authorize(token)
            self._mine = token
        try:
            return self._inner.call(method, message)
        except CallError as error:
            if error.code == UNAUTHENTICATED:
                self._tokens.pop(self._name, None)
            raise

    def _authenticate(self) -> str:
        self._inner.authorize("")
        self._mine = ""
        try:
            reply = self._inner.call(etcd.AUTHENTICATE, etcd.authenticate_request(self._name, self._password))
        except CallError as error:
            raise CallError(error.code, f"authenticate: {error.message}", sent=False) from error
        self._tokens[self._name] = etcd.read_token(reply)
        return self._tokens[self._name]

    def close(self) -> None:
        """Close."""
        self._inner.close()
