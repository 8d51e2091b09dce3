"""What keeps an experiment from hitting what nobody meant: protected namespaces, an opt-in, one owner at a time.

    namespace ─ protected? ─ labelled `chaosgate/experiments: allowed`? ─▶ its Lease `chaosgate` ─▶ ours, and renewed

A Lease that nobody renews for its own duration is nobody's (coordination.k8s.io/v1). Its owner is told, and since when.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from chaos.agent.points import effect
from chaos.errors import UsageError
from chaos.targets.kubernetes.access import CONFLICT, NOT_FOUND, answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.targets.kubernetes.access import Access

PROTECTED = ("kube-system", "kube-public", "kube-node-lease", "chaosgate")
OPT_IN, ALLOWED = "chaosgate/experiments", "allowed"
NAME = "chaosgate"
DURATION_S = 15
RENEWED_EVERY_S = DURATION_S / 3
WATCH_S = 0.5
TAKEN = "the lease is another's, or was deleted"


def refuse_unmeant(access: Access, namespace: str, *, unlabelled: bool = False) -> None:
    """Raise UsageError for a namespace that is protected, or has not opted in and is not let in by `unlabelled`."""
    if namespace in PROTECTED:
        raise UsageError(f"namespace {namespace} is the cluster's own or chaosgate's: no experiment may hit it")
    with answering(f"namespace {namespace}", "get namespaces"):
        labels = access.core.read_namespace(namespace).metadata.labels or {}
    if labels.get(OPT_IN) == ALLOWED or unlabelled:
        return
    would = f"kubectl label namespace {namespace} {OPT_IN}={ALLOWED}"
    where = f"namespace {namespace} of {access.context}"
    raise UsageError(f"{where} has not opted in to experiments; if it is meant: {would}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A Lease as somebody holds it. Times are the cluster's, by the clocks of those who wrote them."""

    owner: str
    since: datetime
    renewed: datetime
    duration_s: int

    @classmethod
    def read(cls, spec: Any) -> Held | None:
        """Return it; None if nobody holds it."""
        if not spec or not spec.holder_identity or not spec.renew_time:
            return None
        return cls(
            owner=spec.holder_identity,
            since=spec.acquire_time or spec.renew_time,
            renewed=spec.renew_time,
            duration_s=spec.lease_duration_seconds or DURATION_S,
        )

    def lives(self, now: datetime) -> bool:
        """Whether it has been renewed within its duration."""
        return now - self.renewed < timedelta(seconds=self.duration_s)

    def told(self, now: datetime) -> str:
        """Say whose it is, since when, and when it was renewed."""
        age, idle = now - self.since, now - self.renewed
        return f"{self.owner} for {age.total_seconds():.0f} s, renewed {idle.total_seconds():.0f} s ago"


class Ownership:
    """The Lease of a namespace, ours until `release`; `lost` is called once if somebody takes it or it runs out."""

    def __init__(self, access: Access, namespace: str, lost: Callable[[str], None] = lambda _: None) -> None:
        """Take it. UsageError naming the owner if a living one has it."""
        from kubernetes import client  # noqa: PLC0415

        self._leases = client.CoordinationV1Api(access.api)
        self._namespace, self._lost = namespace, lost
        self.owner = f"{platform.node()}/{os.getpid()}/{secrets.token_hex(3)}"
        self._since = _now()
        self._released = threading.Event()
        self._version = self._take()
        self._renewing = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Let others have it; content if it is gone. Idempotent."""
        if self._released.is_set():
            return
        self._released.set()
        self._renewing.join()
        with answering(f"release the lease of {self._namespace}", "update leases"):
            try:
                body = self._body(owner="", version=self._version)
                effect("lease.release", lambda: self._leases.replace_namespaced_lease(NAME, self._namespace, body))
            except _api_error() as error:
                if error.status not in (NOT_FOUND, CONFLICT):  # with its namespace, or somebody else's by now
                    raise

    def _take(self) -> str:
        with answering(f"the lease of {self._namespace}", "get, create and update leases"):
            found = self._read()
            if found and (held := Held.read(found.spec)):
                self._refuse_living(held, found.metadata.resource_version)
            try:
                return self._written(found)
            except _api_error() as error:
                if error.status != CONFLICT:
                    raise
        raise UsageError(f"namespace {self._namespace}: another controller has just taken it; wait until it has ended")

    def _read(self) -> Any:
        try:
            return self._leases.read_namespaced_lease(NAME, self._namespace)
        except _api_error() as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def _refuse_living(self, held: Held, version: str) -> None:
        """Raise UsageError for a lease that lives; one that seems dead is watched for its duration: clocks differ."""
        refused = f"namespace {self._namespace} is held by {held.told(_now())}; wait until that run has ended"
        if held.lives(_now()):
            raise UsageError(refused)
        until = time.monotonic() + held.duration_s
        while time.monotonic() < until:
            found = self._read()
            if found is None:
                return
            if found.metadata.resource_version != version:
                if Held.read(found.spec):
                    raise UsageError(refused)
                return
            time.sleep(WATCH_S)

    def _written(self, found: Any) -> str:
        body = self._body(owner=self.owner, version=found.metadata.resource_version if found else None)
        if found is None:
            made = effect("lease.take", lambda: self._leases.create_namespaced_lease(self._namespace, body))
        else:
            made = effect("lease.take", lambda: self._leases.replace_namespaced_lease(NAME, self._namespace, body))
        return str(made.metadata.resource_version)

    def _renew_on(self) -> None:
        renewed = time.monotonic()
        while not self._released.wait(RENEWED_EVERY_S):
            why = self._renew()
            if not why:
                renewed = time.monotonic()
            elif why == TAKEN or time.monotonic() - renewed > DURATION_S:
                self._lost(why)
                return

    def _renew(self) -> str:
        """Renew it once; return why it could not be, "" if it was."""
        try:
            body = self._body(owner=self.owner, version=self._version)
            told = self._leases.replace_namespaced_lease(NAME, self._namespace, body, _request_timeout=RENEWED_EVERY_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, a lease that is not renewed runs out
            return self._resolved(getattr(error, "status", None)) or str(error)
        self._version = str(told.metadata.resource_version)
        return ""

    def _resolved(self, status: int | None) -> str:
        """Of a conflict, look whose it is: an answer to us may have been lost; TAKEN if it is another's, or gone."""
        if status not in (CONFLICT, NOT_FOUND):
            return ""
        try:
            found = self._read()
        except Exception:  # noqa: BLE001 - as above
            return ""
        held = Held.read(found.spec) if found else None
        if held is None or held.owner != self.owner:
            return TAKEN
        self._version = str(found.metadata.resource_version)
        return "it was written by ourselves"

    def _body(self, *, owner: str, version: str | None = None) -> Any:
        from kubernetes import client  # noqa: PLC0415

        spec = client.V1LeaseSpec(
            holder_identity=owner or None,
            acquire_time=self._since if owner else None,
            renew_time=_now() if owner else None,
            lease_duration_seconds=DURATION_S,
        )
        labels = {"app.kubernetes.io/part-of": "chaosgate"}
        meta = client.V1ObjectMeta(name=NAME, labels=labels, resource_version=version)
        return client.V1Lease(metadata=meta, spec=spec)


def _api_error() -> type[Any]:
    from kubernetes.client import ApiException  # noqa: PLC0415

    found: type[Any] = ApiException
    return found


def _now() -> datetime:
    return datetime.now(tz=UTC)
