"""etcd's JSON gateway, for control and probes; measured traffic has a transport of its own.

    put, get, swap, status … ──POST /v3/…──▶ :2379 gateway      keys and values base64, 64-bit numbers as text
    hash_kv ──POST /v3/maintenance/hashkv──▶ :2379              where the version has it
            └─GET /members/hashkv──────────▶ :2380 (peer port)  before: the gateway's .../hash is another hash

One connection a request and no retries: what is asked once is done at most once. Only a request that was refused for
its token, and so was not looked at, is asked again after a log-in: a member that restarts forgets all tokens.
"""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from chaos.errors import StackError
from chaos.stacks.etcd.access import OPEN
from chaos.stacks.etcd.errors import Code, outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.model import Outcome
    from chaos.stacks.etcd.access import Access

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
    `hash_kv` on old versions. Clients that share `tokens` (address → token) log in once a member: that is a proposal,
    and a hash that is slow on purpose. Every method raises EtcdError when refused or unanswered; making a client does
    for files of TLS that can't be used.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float,
        access: Access = OPEN,
        tokens: dict[str, str] | None = None,
        peer: str = "",
    ) -> None:
        self.address = address
        self._peer = peer
        self._access = access
        self._tokens = {} if tokens is None else tokens
        self._scheme = "https" if access.tls else "http"
        # Our own context even without TLS: httpx would load the system's authorities, 20 ms, for nothing.
        context = self._trust() if access.tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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

    def move_leader(self, member_id: int) -> None:
        """Have the leader, which must be the one asked, hand its role to another member."""
        self.call("/v3/maintenance/transfer-leadership", {"targetID": str(member_id)})

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
        """POST one request of the gateway, e.g. "/v3/kv/put", logging in first where there is a user."""
        if not self._access.user:
            return self._ask("POST", self.address, path, body)
        token = self._tokens.get(self.address) or self._log_in()
        try:
            return self._ask("POST", self.address, path, body, token)
        except EtcdError as error:
            if error.code != Code.UNAUTHENTICATED:
                raise
        return self._ask("POST", self.address, path, body, self._log_in())  # it was refused unread, see errors.py

    def _log_in(self) -> str:
        user, source = self._access.user, self._access.password_env
        try:
            asked = {"name": user, "password": self._access.password}
            token = str(self._ask("POST", self.address, "/v3/auth/authenticate", asked)["token"])
        except EtcdError as error:
            whose = f" with the password in {source}" if source else ""
            why = f"log-in as {user!r}{whose}: {error.message}"
            raise EtcdError(error.code, why, address=self.address, sent=False) from error
        self._tokens[self.address] = token
        return token

    def _trust(self) -> ssl.SSLContext:
        assert self._access.tls is not None
        try:
            return self._access.tls.context()
        except OSError as error:  # a broken file's ssl.SSLError too
            raise EtcdError(Code.UNAVAILABLE, f"tls: {error}", address=self.address, sent=False) from error

    def _ask(self, method: str, address: str, path: str, body: Mapping[str, Any], token: str = "") -> dict[str, Any]:
        tls = self._access.tls
        try:
            answer = self._http.request(
                method,
                f"{self._scheme}://{address}{path}",
                content=json.dumps(body),
                headers={"Authorization": token} if token else None,
                extensions={"sni_hostname": tls.server_name} if tls and tls.server_name else None,
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
