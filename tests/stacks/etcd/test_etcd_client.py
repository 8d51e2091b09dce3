from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from dataclasses import replace

import pytest

from chaos.model import Node, Outcome, Process
from chaos.stacks.etcd.access import Access, Tls
from chaos.stacks.etcd.client import EtcdClient, EtcdError
from chaos.stacks.etcd.errors import Code
from chaos.stacks.etcd.versions import DEFAULT_VERSION, SHIPPED, provide
from tests.stacks.etcd.clusters import cluster
from tests.stacks.etcd.loopback import Loopback, until


@contextlib.contextmanager
def one_member(version=DEFAULT_VERSION):
    with cluster(version, members=1) as (stack, target), stack.members.client("etcd1", 1.0) as client:
        yield client, target


@pytest.mark.real
@pytest.mark.parametrize("version", SHIPPED)
def test_keys_are_written_read_and_swapped(version):
    with one_member(version) as (client, _):
        assert client.get("k") is None
        first = client.put("k", "v1 ü")
        assert client.get("k").value == "v1 ü"
        assert client.put("k", "v2") == first + 1
        assert client.get("k", revision=first).value == "v1 ü"
        assert client.get("k", serializable=True).version == 2

        lost = client.swap("k", "v1 ü", "v3")
        assert (lost.swapped, lost.found.value) == (False, "v2")
        won = client.swap("k", "v2", "v3")
        assert (won.swapped, won.revision, won.found) == (True, first + 2, None)
        assert client.swap("none", "v", "w").found is None


@pytest.mark.real
@pytest.mark.parametrize("version", SHIPPED)
def test_a_member_tells_its_status_and_hashes_its_history(version):
    with one_member(version) as (client, _):
        status = client.status()
        assert status.version == version
        assert status.leader == status.member_id != 0
        before = client.hash_kv(status.revision)
        revision = client.put("k", "v")
        assert client.hash_kv(revision).hash != before.hash
        assert client.hash_kv(status.revision) == before  # the past does not change
        with pytest.raises(EtcdError) as caught:
            client.hash_kv(revision + 100)
        assert caught.value.code == Code.OUT_OF_RANGE


@pytest.mark.real
def test_a_hash_without_a_gateway_path_and_without_a_peer_port_is_refused():
    with cluster("3.4.23", members=1) as (stack, _), EtcdClient(stack.endpoints()["etcd1"], timeout_s=1) as client:
        with pytest.raises(EtcdError, match="/v3/maintenance/hashkv: Not Found") as caught:
            client.hash_kv()
        assert caught.value.code == Code.UNIMPLEMENTED


@pytest.mark.real
def test_members_are_listed_added_and_removed():
    with cluster(members=3) as (stack, _), stack.members.client("etcd1", 5.0) as client:
        assert {m.name for m in client.members()} == {"etcd1", "etcd2", "etcd3"}
        until(lambda: added_one(client))
        (new,) = [m for m in client.members() if not m.name]
        client.remove_member(new.id)
        assert len(client.members()) == 3


def added_one(client):
    try:
        return client.add_member("http://127.0.0.1:1").peer_urls == ("http://127.0.0.1:1",)
    except EtcdError as error:
        if error.message != "etcdserver: unhealthy cluster":  # as a fresh cluster says for some seconds
            raise
        return False


@pytest.mark.real
def test_a_refused_request_has_etcds_code_and_has_failed():
    with one_member() as (client, _):
        with pytest.raises(EtcdError, match="key is not provided") as caught:
            client.put("", "v")
        assert (caught.value.code, caught.value.outcome) == (Code.INVALID_ARGUMENT, Outcome.FAILED)


def test_a_connection_refused_has_failed():
    with (
        EtcdClient("127.0.0.1:1", timeout_s=1) as client,
        pytest.raises(EtcdError, match=r"127\.0\.0\.1:1: ") as caught,
    ):
        client.put("k", "v")
    assert (caught.value.sent, caught.value.outcome) == (False, Outcome.FAILED)


@pytest.mark.real
def test_a_stopped_member_leaves_the_write_unknown():
    with one_member() as (_, target), target.stopped("etcd1"):
        address = f"{target.topology().node('etcd1').address}:2379"
        with EtcdClient(address, timeout_s=0.2) as client, pytest.raises(EtcdError) as caught:
            client.put("k", "v")
        assert (caught.value.code, caught.value.outcome) == (Code.DEADLINE_EXCEEDED, Outcome.UNKNOWN)


@contextlib.contextmanager
def a_server_that_hangs_up():
    """Accept, read a request, close without an answer; count the requests."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        if data := connection.recv(65536):
                            heard.append(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_request_without_an_answer_is_sent_once_and_is_unknown():
    with a_server_that_hangs_up() as (address, heard), EtcdClient(address, timeout_s=1) as client:
        for n in (1, 2):
            with pytest.raises(EtcdError) as caught:
                client.put("k", "v")
            assert caught.value.outcome is Outcome.UNKNOWN
            assert len(heard) == n


def test_a_proxy_in_the_environment_is_not_used(monkeypatch):
    with a_server_that_hangs_up() as (address, heard):
        monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
        with EtcdClient("127.0.0.1:1", timeout_s=1) as client, pytest.raises(EtcdError):
            client.status()
        assert heard == []


# ---------------------------------------------------------------- TLS, users


GUEST = {"user": "guest", "password": "g"}
ROOT = {"user": "root", "password": "secret", "password_env": "PW"}


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


def certificate(folder, name, subject, extension=""):  # a subject such as /O=somebody
    (folder / f"{name}.ext").write_text(extension or "basicConstraints=CA:FALSE\n")
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject]
    openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    sign = ["x509", "-req", "-days", "2", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl(folder, *sign, "-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext")


def authority(folder):
    # OpenSSL's default configuration marks it as an authority itself.
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl(folder, *new, "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt")


@contextlib.contextmanager
def one_secured_member(tmp_path):
    """One member with TLS that asks clients for certificates."""
    with Loopback([Node(name="etcd1", role="member", address="")]) as target:
        address = target.topology().nodes[0].address
        authority(tmp_path)
        certificate(tmp_path, "server", "/CN=etcd", f"subjectAltName=IP:{address}\n")
        certificate(tmp_path, "client", "/O=somebody")
        options = {
            "data-dir": tmp_path / "data",
            "listen-client-urls": f"https://{address}:2379",
            "advertise-client-urls": f"https://{address}:2379",
            "listen-peer-urls": f"http://{address}:2380",
            "initial-advertise-peer-urls": f"http://{address}:2380",
            "initial-cluster": f"default=http://{address}:2380",
            "cert-file": tmp_path / "server.crt",
            "key-file": tmp_path / "server.key",
            "trusted-ca-file": tmp_path / "ca.crt",
        }
        argv = [str(provide(DEFAULT_VERSION)), "--client-cert-auth", *(f"--{k}={v}" for k, v in options.items())]
        target.start("etcd1", Process(name="etcd", argv=tuple(argv), cwd=str(tmp_path), log=str(tmp_path / "log")))
        yield f"{address}:2379"


def answers(client):
    with contextlib.suppress(EtcdError):
        return client.status()


@pytest.mark.real
def test_tls_and_users_are_kept_and_a_stranger_is_refused(tmp_path):
    with one_secured_member(tmp_path) as address:
        known = tls_of(tmp_path)
        with EtcdClient(address, timeout_s=2, access=Access(tls=known)) as client:
            until(lambda: answers(client))
            for path, body in (
                ("/v3/auth/user/add", {"name": "root", "password": ROOT["password"]}),
                ("/v3/auth/user/add", {"name": "guest", "password": GUEST["password"]}),
                ("/v3/auth/role/add", {"name": "root"}),
                ("/v3/auth/user/grant", {"user": "root", "role": "root"}),
                ("/v3/auth/enable", {}),
            ):
                client.call(path, body)

        owner, tokens = Access(tls=known, **ROOT), {}
        with EtcdClient(address, timeout_s=2, access=owner, tokens=tokens) as root:
            assert root.put("k", "v") == 2
            assert root.get("k").value == "v"
            assert root.hash_kv().hash
            first = dict(tokens)
            tokens[address] = "no.1"  # one that the server has forgotten, as it does when it restarts
            assert root.put("k", "w") == 3  # logged in anew, and not written twice
            assert tokens != first
            assert list(tokens) == [address]

        refused = {
            "log-in as 'root' with the password in PW: .* invalid user ID or password": replace(
                owner, **{**ROOT, "password": "wrong"}
            ),
            "permission denied": Access(tls=known, **GUEST),
            "user name is empty": Access(tls=known),
            "certificate required|reset|disconnected": replace(owner, tls=Tls(ca=known.ca)),
            "reset|disconnected|400": replace(owner, tls=None),
        }
        for why, access in refused.items():
            with (
                EtcdClient(address, timeout_s=2, access=access) as client,
                pytest.raises(EtcdError, match=why) as caught,
            ):
                client.put("k", why)
            assert "secret" not in str(caught.value)
        with EtcdClient(address, timeout_s=2, access=owner) as root:
            assert root.get("k").value == "w"


def tls_of(folder):
    return Tls(ca=str(folder / "ca.crt"), cert=str(folder / "client.crt"), key=str(folder / "client.key"))


@pytest.mark.real
def test_a_server_of_another_authority_is_refused(tmp_path):
    with one_secured_member(tmp_path) as address:
        until(lambda: can_connect(address))
        other = tmp_path / "other"
        other.mkdir()
        authority(other)
        with (
            EtcdClient(address, timeout_s=2, access=Access(tls=Tls(ca=str(other / "ca.crt")))) as client,
            pytest.raises(EtcdError, match="certificate verify failed") as caught,
        ):
            client.status()
        assert not caught.value.sent


def can_connect(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def test_certificates_that_are_not_there_are_an_answer_too(tmp_path):
    with pytest.raises(EtcdError, match=r"tls: .*No such file") as caught:
        EtcdClient("127.0.0.1:1", timeout_s=1, access=Access(tls=tls_of(tmp_path)))
    assert not caught.value.sent
