"""etcd's JSON gateway, for control and probes; measured traffic has a transport of its own.

    put, get, swap, status … ──POST /v3/…──▶ :2379 gateway      keys and values base64, 64-bit numbers as text
    hash_kv ──POST /v3/maintenance/hashkv──▶ :2379              where the version has it
            └─GET /members/hashkv──────────▶ :2380 (peer port)  before: the gateway's .../hash is another hash

One connection a request and no retries: what is asked once reaches the server at most once.
"""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from chaos.errors import StackError
from chaos.stacks.etcd.errors import Code, outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.model import Outcome

_NO_KEEP_ALIVE = httpx.Limits(max_keepalive_connections=0)  # a kept connection may die under a request


class EtcdError(StackError):
    """A member refused or did not answer; `code` is gRPC's, and `sent` False if no byte left us."""

    def __init__(self, code: int, message: str, *, address: str = "", sent: bool = True) -> None:
        self.code = code
        self.message = message
        self.sent = sent
        super().__init__(f"{address}: {message}" if address else message)

    @property
    def outcome(self) -> Outcome:
        """What is known of the operation."""
        return outcome(self.code, self.message, self.sent)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM: the authority that signed the servers, and our own certificate where servers ask for one.

    With users enabled too, the gateway refuses a certificate whose subject has a CommonName.
    """

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that trusts `ca` alone; OSError or ssl.SSLError for unreadable files."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """A key as it stands at a revision."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A compare-and-swap's answer: done, or what stood there instead (None: no such key)."""

    swapped: bool
    revision: int
    found: KeyValue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """What a member says of itself; answered without a quorum too. Ids and `leader` (0: none) are Raft's."""

    member_id: int
    leader: int
    raft_term: int
    raft_index: int
    applied_index: int
    revision: int
    version: str
    db_size_bytes: int
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KvHash:
    """CRC-32C over all key-value history up to a revision; -1: never compacted."""

    hash: int
    compact_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An entry of the membership."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class EtcdClient:
    """One member's gateway at `address` (host:port), as a context manager.

    `timeout_s` bounds connecting and waiting for the answer, each. `peer` is the member's peer host:port, for
    `hash_kv` on old versions. Every method raises EtcdError when refused or unanswered.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float,
        tls: Tls | None = None,
        user: str | None = None,
        password: str | None = None,
        peer: str = "",
    ) -> None:
        self.address = address
        self._peer = peer
        self._scheme = "https" if tls else "http"
        self._login = {"name": user, "password": password or ""} if user else None
        self._token = ""
        # Our own context even without TLS: httpx would load the system's authorities, 20 ms, for nothing.
        context = tls.context() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.Client(timeout=timeout_s, verify=context, limits=_NO_KEEP_ALIVE, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; idempotent."""
        self._http.close()

    # ------------------------------------------------------------ keys

    def put(self, key: str, value: str) -> int:
        """Write and return the revision that the write made."""
        return _revision(self.call("/v3/kv/put", {"key": _encode(key), "value": _encode(value)}))

    def get(self, key: str, *, serializable: bool = False, revision: int = 0) -> KeyValue | None:
        """Read a key, None if absent. Linearizable unless asked otherwise; at an old `revision` if not 0."""
        ask = {"key": _encode(key), "serializable": serializable, "revision": str(revision)}
        found = self.call("/v3/kv/range", ask).get("kvs", [])
        return _key_value(found[0]) if found else None

    def swap(self, key: str, expect: str, value: str) -> Swap:
        """Write `value` iff the key holds `expect`; else read what it holds, in the same transaction."""
        answer = self.call(
            "/v3/kv/txn",
            {
                "compare": [{"key": _encode(key), "target": "VALUE", "result": "EQUAL", "value": _encode(expect)}],
                "success": [{"requestPut": {"key": _encode(key), "value": _encode(value)}}],
                "failure": [{"requestRange": {"key": _encode(key)}}],
            },
        )
        if answer.get("succeeded"):
            return Swap(swapped=True, revision=_revision(answer))
        found = answer["responses"][0]["response_range"].get("kvs", [])
        return Swap(swapped=False, revision=_revision(answer), found=_key_value(found[0]) if found else None)

    # ------------------------------------------------------------ maintenance

    def status(self) -> MemberStatus:
        """Ask the member for its own view; needs no quorum."""
        answer = self.call("/v3/maintenance/status", {})
        return MemberStatus(
            member_id=int(answer["header"]["member_id"]),
            leader=int(answer.get("leader", 0)),
            raft_term=int(answer.get("raftTerm", 0)),
            raft_index=int(answer.get("raftIndex", 0)),
            applied_index=int(answer.get("raftAppliedIndex", 0)),
            revision=_revision(answer),
            version=answer["version"],
            db_size_bytes=int(answer.get("dbSize", 0)),
            errors=tuple(answer.get("errors", ())),
        )

    def hash_kv(self, revision: int = 0) -> KvHash:
        """Hash the member's own key-value history up to `revision` (0: its current one).

        Only HashKV is comparable between members: Maintenance.Hash covers the whole file, bookkeeping included.
        """
        try:
            answer = self.call("/v3/maintenance/hashkv", {"revision": str(revision)})
        except EtcdError as error:
            if error.code != Code.UNIMPLEMENTED or not self._peer:
                raise
            answer = self._ask("GET", self._peer, "/members/hashkv", {"revision": revision})
        return KvHash(hash=int(answer.get("hash", 0)), compact_revision=int(answer.get("compact_revision", 0)))

    # ------------------------------------------------------------ membership

    def members(self) -> tuple[Member, ...]:
        """List the membership."""
        return tuple(_member(m) for m in self.call("/v3/cluster/member/list", {}).get("members", ()))

    def add_member(self, peer_url: str) -> Member:
        """Add a voting member, which is then to be started with initial-cluster-state=existing."""
        return _member(self.call("/v3/cluster/member/add", {"peerURLs": [peer_url]})["member"])

    def remove_member(self, member_id: int) -> None:
        """Remove a member."""
        self.call("/v3/cluster/member/remove", {"ID": str(member_id)})

    # ------------------------------------------------------------ the wire

    def call(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """POST one request of the gateway, e.g. "/v3/kv/put", logging in first where a user was given."""
        try:
            return self._ask("POST", self.address, path, body, self._authorization())
        except EtcdError as error:
            if error.code == Code.UNAUTHENTICATED:  # simple tokens expire; the *next* call logs in anew
                self._token = ""
            raise

    def _authorization(self) -> Mapping[str, str]:
        if self._login is None:
            return {}
        if not self._token:
            self._token = self._ask("POST", self.address, "/v3/auth/authenticate", self._login)["token"]
        return {"Authorization": self._token}

    def _ask(
        self, method: str, address: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            answer = self._http.request(
                method, f"{self._scheme}://{address}{path}", content=json.dumps(body), headers=headers
            )
            return _read(answer, address)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EtcdError(Code.UNAVAILABLE, _said(error), address=address, sent=False) from error
        except httpx.TimeoutException as error:
            raise EtcdError(Code.DEADLINE_EXCEEDED, _said(error), address=address) from error
        except httpx.TransportError as error:
            raise EtcdError(Code.UNAVAILABLE, _said(error), address=address) from error


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _read(answer: httpx.Response, address: str) -> dict[str, Any]:
    """Return the answer's object; EtcdError with gRPC's code if it is an error, whatever its form."""
    try:
        data = answer.json()
    except ValueError:
        data = None  # "Not Found" for an unknown path, plain text from the peer port
    if answer.status_code == httpx.codes.OK and isinstance(data, dict):
        return data
    if isinstance(data, dict) and "code" in data:
        raise EtcdError(int(data["code"]), data.get("message") or data.get("error", ""), address=address)
    text = answer.text.strip()
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise EtcdError(Code.UNIMPLEMENTED, f"{answer.url.path}: {text}", address=address)
    code = Code.OUT_OF_RANGE if text.startswith("mvcc: required revision") else Code.UNKNOWN
    raise EtcdError(code, f"etcdserver: {text}", address=address)


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _decode(text: str) -> str:
    return base64.b64decode(text).decode(errors="surrogateescape")


def _revision(answer: Mapping[str, Any]) -> int:
    return int(answer["header"].get("revision", 0))


def _key_value(data: Mapping[str, Any]) -> KeyValue:
    return KeyValue(
        key=_decode(data["key"]),
        value=_decode(data.get("value", "")),
        create_revision=int(data["create_revision"]),
        mod_revision=int(data["mod_revision"]),
        version=int(data["version"]),
    )


def _member(data: Mapping[str, Any]) -> Member:
    return Member(
        id=int(data["ID"]),
        name=data.get("name", ""),  # empty until it has started once
        peer_urls=tuple(data.get("peerURLs", ())),
        client_urls=tuple(data.get("clientURLs", ())),
    )
