"""A throw-away authority and what it signs: one certificate a node, written into the node's own folder of the lab.

    authority ─signs─▶ etcd1/tls: server, peer and client at once, for its address
        │      ╰─────▶ client1/tls: client
        ╰ its key is never written, and forgotten when all is signed

Certificates have no CommonName: with users enabled, etcd would take it for a user, and its gateway refuses a client's.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chaos.stacks.etcd.access import files_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Extensions = Iterable[tuple[x509.ExtensionType, bool]]  # and whether it is critical

_VALID = dt.timedelta(days=30)  # longer than any run; they go with the lab's folder
_EARLIER = dt.timedelta(hours=1)  # a clock may be set back while a run lasts
_LOOPBACK = "127.0.0.1"  # the source address of a member on 127/8, which its peers look for in its certificate
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
class _Authority:
    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    certificate: x509.Certificate


def issue(members: Mapping[Path, str], clients: Iterable[Path]) -> None:
    """Write ca.pem, cert.pem and key.pem, as `files_of` names them, for every node; members are folder → address.

    Raises OSError where a folder can't be written.
    """
    authority = _authority()
    for folder, address in members.items():
        names = [x509.IPAddress(ipaddress.ip_address(ip)) for ip in dict.fromkeys((address, _LOOPBACK))]
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        _furnish(folder, authority, [(both, False), (x509.SubjectAlternativeName(names), False)])
    for folder in clients:
        _furnish(folder, authority, [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)])


def _authority() -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chaosgate lab")])
    marks: Extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (_uses("key_cert_sign"), True)]
    return _Authority(key=key, name=name, certificate=_signed(name, key.public_key(), name, key, marks))


def _furnish(folder: Path, authority: _Authority, extensions: Extensions) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "chaosgate")])
    marks: Extensions = [(x509.BasicConstraints(ca=False, path_length=None), True), (_uses("digital_signature"), True)]
    certificate = _signed(subject, key.public_key(), authority.name, authority.key, [*marks, *extensions])
    files = files_of(folder)
    Path(files.key).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(files.ca, authority.certificate.public_bytes(Encoding.PEM))
    _write(files.cert, certificate.public_bytes(Encoding.PEM))
    _write(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


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


def _write(path: str, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
