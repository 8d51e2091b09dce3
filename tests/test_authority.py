"""What an authority signs is believed by who trusts it, for the purpose it was signed for, and by nobody else."""

from __future__ import annotations

import socket
import ssl
import stat
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from chaos.authority import Authority, new_key, write_secret

PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}


def purposes(credentials):
    certificate = x509.load_pem_x509_certificate(credentials.certificate)
    return {PURPOSES[one] for one in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}


def context(purpose, folder, authority, credentials):
    for name, content in (("ca", authority.pem), ("crt", credentials.certificate), ("key", credentials.key)):
        write_secret(folder / name, content)
    made = ssl.SSLContext(purpose)
    made.load_verify_locations(folder / "ca")
    made.load_cert_chain(folder / "crt", folder / "key")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def handshake(tmp_path, server, client, host, trusted):
    """Let a server and a client talk over a socket pair; raise what either of them says."""
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
    at_server = context(ssl.PROTOCOL_TLS_SERVER, tmp_path / "server", trusted, server)
    at_client = context(ssl.PROTOCOL_TLS_CLIENT, tmp_path / "client", trusted, client)
    ours, theirs = socket.socketpair()
    refused = []

    def serve():
        try:
            with at_server.wrap_socket(theirs, server_side=True) as wrapped:
                wrapped.sendall(wrapped.recv(10))
        except (ssl.SSLError, OSError) as error:
            refused.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with at_client.wrap_socket(ours, server_hostname=host) as wrapped:
            wrapped.sendall(b"hello")
            heard = wrapped.recv(10)
    finally:
        ours.close()
        thread.join(10)
        theirs.close()
    if refused:
        raise refused[0]
    return heard


@pytest.mark.parametrize("host", ["10.1.2.3", "kubernetes.default.svc"])
def test_server_and_client_of_one_authority_believe_each_other(tmp_path, host):
    authority = Authority.new("ours")
    server, client = authority.issue((host,)), authority.issue(organization="system:masters", common_name="me")
    assert handshake(tmp_path, server, client, host, authority) == b"hello"


def test_another_hosts_certificate_is_refused(tmp_path):
    authority = Authority.new("ours")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(tmp_path, authority.issue(("10.1.2.3",)), authority.issue(), "10.1.2.4", authority)


def test_another_authoritys_certificate_is_refused(tmp_path):
    ours, others = Authority.new("ours"), Authority.new("ours")
    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, others.issue(("10.1.2.3",)), ours.issue(), "10.1.2.3", ours)


def test_a_certificate_is_for_what_was_asked():
    authority = Authority.new("ours")
    assert purposes(authority.issue()) == {"client"}
    assert purposes(authority.issue(("a",))) == {"server", "client"}
    assert purposes(authority.issue(("a",), client=False)) == {"server"}


def test_the_subject_says_who_it_is():
    certificate = x509.load_pem_x509_certificate(
        Authority.new("ours").issue(organization="system:nodes", common_name="system:node:node1").certificate
    )
    assert certificate.subject.rfc4514_string() == "CN=system:node:node1,O=system:nodes"


def test_without_a_name_there_is_no_common_name():
    assert Authority.new("ours").issue().certificate
    certificate = x509.load_pem_x509_certificate(Authority.new("ours").issue().certificate)
    assert certificate.subject.rfc4514_string() == "O=chaosgate"


def test_a_key_on_its_own_can_be_read_as_servers_of_kubernetes_do():
    pem = new_key()
    assert pem.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert load_pem_private_key(pem, None).key_size == 256


def test_a_secret_is_for_its_owner_alone_even_where_a_file_was(tmp_path):
    write_secret(tmp_path / "new", b"x")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    write_secret(tmp_path / "new", b"y")
    assert (tmp_path / "new").read_bytes() == b"y"
