"""A throw-away certificate authority: its key is never written, and forgotten when all is signed.

Authority.new("chaosgate lab") ─ issue(addresses, …) ─▶ Credentials(certificate, key), PEM
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    Extensions = Iterable[tuple[x509.ExtensionType, bool]]  # and whether it is critical

_VALID = dt.timedelta(days=30)  # longer than any run; they go with the lab's folder
_EARLIER = dt.timedelta(hours=1)  # a clock may be set back while a run lasts
_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Signs for as long as it is held; nobody can sign in its name afterwards."""

    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    certificate: x509.Certificate

    @classmethod
    def new(cls, common_name: str) -> Authority:
        """Make a key and sign it by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        marks: Extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (_uses("key_cert_sign"), True)]
        return cls(key=key, name=name, certificate=_signed(name, key.public_key(), name, key, marks))

    @property
    def pem(self) -> bytes:
        """Return its own certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self, hosts: Sequence[str] = (), *, organization: str = "chaosgate", common_name: str = "", client: bool = True
    ) -> Credentials:
        """Sign a new key: a server's for `hosts` (addresses or names) if there are any, and a client's if `client`."""
        key = ec.generate_private_key(ec.SECP256R1())
        named = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
        named += [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        marks: Extensions = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_uses("digital_signature"), True),
            (x509.ExtendedKeyUsage(_purposes(server=bool(hosts), client=client)), False),
        ]
        names = [(x509.SubjectAlternativeName([_general(host) for host in hosts]), False)] if hosts else []
        certificate = _signed(x509.Name(named), key.public_key(), self.name, self.key, [*marks, *names])
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Credentials(certificate=certificate.public_bytes(Encoding.PEM), key=pem)


def new_key() -> bytes:
    """Return a new key on its own, PEM, for what signs without a certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; OSError if it can't be."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _purposes(*, server: bool, client: bool) -> list[x509.ObjectIdentifier]:
    purposes = {ExtendedKeyUsageOID.SERVER_AUTH: server, ExtendedKeyUsageOID.CLIENT_AUTH: client}
    return [purpose for purpose, wanted in purposes.items() if wanted]


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signing: ec.EllipticCurvePrivateKey,
    extensions: Extensions,
) -> x509.Certificate:
    """Sign, with the identifiers of both keys, without which strict verifiers refuse (RFC 5280 §4.2.1.1, §4.2.1.2)."""
    now = dt.datetime.now(tz=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signing, SHA256())


def _uses(use: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{**dict.fromkeys(_USES, False), use: True})
