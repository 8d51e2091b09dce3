"""What a client shows to be let in: nothing, certificates, a user, or both. Pure values; one says it for everybody.

    stack: {etcd: {tls: …, user: …, password-env: …}} ─▶ Access ─┬▶ EtcdClient: readiness, roles, probes, replicas
                                                                └▶ Assignment: the generators, by standard input

A password is read from the environment when an experiment is checked, and lives in memory from then on: it is in no
file, no argument, no repr, and in the environment of no process that we start.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.environment import hide
from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM: the authority that signed the servers, and our own certificate where servers ask for one.

    `server_name` is verified instead of the address, where a certificate names no addresses. With users enabled too,
    etcd's gateway refuses a certificate of ours whose subject has a CommonName.
    """

    ca: str
    cert: str = ""
    key: str = ""  # empty: in the same file as the certificate
    server_name: str = ""

    def __post_init__(self) -> None:
        if not self.ca:
            raise ValueError("ca: no authority is named, and then every authority of this machine's would be believed")
        if self.key and not self.cert:
            raise ValueError("key: a key without its certificate; add cert")

    def context(self, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """Return a context that trusts `ca` alone.

        OSError for a missing file, ssl.SSLError for a broken one and for a key that is encrypted: OpenSSL would ask
        for its passphrase on the terminal, and wait there.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if self.cert:
            context.load_cert_chain(self.cert, self.key or None, password=self._refuse)
        return context

    def _refuse(self) -> str:
        why = f"{self.key or self.cert}: the key is encrypted, and there is nobody to ask"
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, why)

    def check(self) -> None:
        """Raise UsageError naming the file that can't be read, or saying that they don't fit."""
        for name, path in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            try:
                _ = Path(path).read_bytes() if path else b""
            except OSError as error:
                raise UsageError(f"tls: {name}: {path}: {error.strerror}; name a file in PEM") from error
        try:
            self.context()
        except ssl.SSLError as error:
            files = ", ".join(path for path in (self.ca, self.cert, self.key) if path)
            why = getattr(error, "reason", "") or error  # only OpenSSL's own have a reason
            raise UsageError(
                f"tls: {files}: {why}; PEM files are wanted, and a key without passphrase that fits cert"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """TLS if the cluster speaks it, a user if it wants one. `password_env` is where the password was found."""

    tls: Tls | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    password_env: str = ""


OPEN = Access()


def password_in(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the password in an environment variable, which our children will not see; UsageError if there is none."""
    hide(variable)
    if password := environment.get(variable, ""):
        return password
    raise UsageError(
        f"password-env: the environment variable {variable} is not set; export it first "
        f"(through sudo: sudo --preserve-env={variable})"
    )


def files_of(folder: Path) -> Tls:
    """Return where a node of a lab has its certificate (certificates.py puts it there); `folder` is the node's own."""
    tls = folder / "tls"
    return Tls(ca=str(tls / "ca.pem"), cert=str(tls / "cert.pem"), key=str(tls / "key.pem"))
