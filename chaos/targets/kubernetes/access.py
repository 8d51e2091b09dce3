"""The way into a cluster: kubeconfig, context, the API's refusals in words that say what would do.

Nothing of the official client is imported before it is used: it takes a second.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import CapabilityError, TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubernetes.client import ApiClient, ApiException, AppsV1Api, CoreV1Api

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 401, 403, 404, 409
OLDEST = (1, 29)  # exec by websocket with a closing channel
ANSWER_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A cluster that answers. `context` and `server` are what a person is shown before anything is touched."""

    api: ApiClient
    context: str
    server: str
    version: str

    @property
    def core(self) -> CoreV1Api:
        """Pods, nodes, namespaces."""
        from kubernetes import client  # noqa: PLC0415

        return client.CoreV1Api(self.api)

    @property
    def apps(self) -> AppsV1Api:
        """StatefulSets, DaemonSets."""
        from kubernetes import client  # noqa: PLC0415

        return client.AppsV1Api(self.api)


def connect(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """Return the way into the cluster of a kubeconfig ("": $KUBECONFIG, then ~/.kube/config).

    UsageError for a kubeconfig that is none; TargetError if nobody answers; CapabilityError for a server too old.
    """
    from kubernetes import client, config  # noqa: PLC0415
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415

    where = kubeconfig or os.environ.get("KUBECONFIG", "~/.kube/config")
    try:
        contexts, active = config.list_kube_config_contexts(kubeconfig or None)
        if context and context not in (known := [one["name"] for one in contexts]):
            raise UsageError(f"{where}: no context {context!r}; there are {', '.join(known)}")
        api = _patient(config.new_client_from_config(kubeconfig or None, context or None).configuration)
    except (ConfigException, OSError, TypeError, ValueError) as error:
        would = "name one by --kubeconfig or $KUBECONFIG; `chaosgate lab up` boots a cluster, and says where its own is"
        raise UsageError(f"{where}: no cluster can be found there: {error}; {would}") from error
    name = context or active["name"]
    with answering("the cluster's version", "/version"):
        told = client.VersionApi(api).get_code()
    _refuse_old(told)
    return Access(api=api, context=name, server=api.configuration.host, version=told.git_version)


def _patient(configuration: Any) -> ApiClient:
    """Return a client that asks once, and waits ANSWER_S at most unless it is told otherwise."""
    from kubernetes import client  # noqa: PLC0415

    configuration.retries = False  # a PUT that is sent twice meets its own first
    api = client.ApiClient(configuration)
    ask = api.call_api

    def in_time(*arguments: Any, **named: Any) -> Any:
        return ask(*arguments, **{**named, "_request_timeout": named.get("_request_timeout") or ANSWER_S})

    api.call_api = in_time
    return api


def _refuse_old(told: Any) -> None:
    found = int(told.major), int("".join(c for c in told.minor if c.isdigit()))
    if found < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise CapabilityError(f"the cluster runs {told.git_version}; this target works with {oldest} and later")


@contextlib.contextmanager
def answering(what: str, verb: str = "") -> Iterator[None]:
    """Let the API's refusals inside the block be ours: what was asked for, what the server said, what would do."""
    from kubernetes.client import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        raise refusal(what, error, verb) from error
    except (HTTPError, OSError) as error:
        raise TargetError(f"{what}: the API server does not answer: {error}; is it the right kubeconfig?") from error


def refusal(what: str, error: ApiException, verb: str = "") -> TargetError | CapabilityError:
    """Return what an API's error means to whoever asked for `what`."""
    said = message(error)
    if error.status == UNAUTHORIZED:
        return TargetError(f"{what}: the cluster does not know who asks (401): {said}; are the credentials expired?")
    if error.status == FORBIDDEN:
        would = f"; it takes the right to {verb}" if verb else ""
        return CapabilityError(f"{what}: refused (403): {said}{would}; `chaosgate install --print` lists every right")
    return TargetError(f"{what}: the API server says {error.status}: {said}")


def message(error: ApiException) -> str:
    """Return the sentence of an API's error."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or error)
