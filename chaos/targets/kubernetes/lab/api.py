"""As much of the API as booting takes: is it ready, which node is; over a kubeconfig of our own making."""

from __future__ import annotations

import base64
import json
import ssl
from typing import TYPE_CHECKING, Any, Self

import httpx

from chaos.errors import TargetError

if TYPE_CHECKING:
    from pathlib import Path

_ANSWER_S = 10.0


class Api:
    """A client; a context manager."""

    def __init__(self, url: str, ca: str, token: str) -> None:
        """Take the URL, the authority's certificate (PEM) and a token."""
        trusting = ssl.create_default_context(cadata=ca)
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=url, verify=trusting, headers=headers, timeout=_ANSWER_S, trust_env=False)

    @classmethod
    def by(cls, kubeconfig: Path) -> Api:
        """Read a kubeconfig as plan.py writes it; TargetError if it is not there."""
        try:
            told = json.loads(kubeconfig.read_text(encoding="utf-8"))
        except OSError as error:
            raise TargetError(f"{kubeconfig}: {error.strerror}") from error
        cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        return cls(cluster["server"], ca, user["token"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """Return an object by its path; None if there is none. TargetError without an answer."""
        try:
            answer = self._client.get(path)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            found: dict[str, Any] = answer.raise_for_status().json()
        except httpx.HTTPError as error:
            raise TargetError(f"{path}: {error or type(error).__name__}") from error
        return found

    def serves(self) -> bool:
        """Tell whether the API server is ready."""
        try:
            return self._client.get("/readyz").text == "ok"
        except httpx.HTTPError:
            return False

    def is_ready(self, node: str) -> bool:
        """Tell whether the cluster takes a node for ready; TargetError without an answer."""
        found = self.get(f"/api/v1/nodes/{node}") or {}
        conditions = found.get("status", {}).get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
