from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import raw_server as raw

from chaos.stacks.etcd.access import Tls
from chaos.stacks.etcd.errors import outcome
from workloads import etcd_messages as etcd
from workloads import http2
from workloads.kv import Keys, KvClient, Site, client_numbers
from workloads.login import LoggedIn, Login
from workloads.readback import ReadBack
from workloads.sabotage import Retry, sabotaged
from workloads.settings import KvSettings
from workloads.unary import DEADLINE_EXCEEDED, UNAUTHENTICATED, UNAVAILABLE, CallError, Unary

METHOD = "/test/Echo"
ROOT = {"user": "root", "password": "secret"}


def error_of(transport, message=b"hello"):
    with pytest.raises(CallError) as caught:
        transport.call(METHOD, message)
    transport.close()
    return caught.value


def client(server, timeout_s=2.0):
    return Unary(server.address, timeout_s=timeout_s)


def refuse_one_request_per_operation(server, operations):
    """The check itself: what a run's safety rests on."""
    assert len(server.requests) == operations, f"{len(server.requests)} requests arrived for {operations} operations"


def test_a_message_comes_back():
    with raw.Server(raw.echo) as server:
        unary = client(server)
        assert [unary.call(METHOD, text) for text in (b"", b"one", b"two")] == [b"", b"one", b"two"]
        assert server.connections == 1
        unary.close()


@pytest.mark.parametrize("act", [raw.close, raw.reset(2), raw.reset(http2.REFUSED_STREAM), raw.go_away(0)])
def test_a_request_that_gets_no_answer_is_sent_exactly_once(act):
    with raw.Server(act) as server:
        for _ in range(5):
            error_of(client(server))
        refuse_one_request_per_operation(server, 5)


def test_the_check_on_retries_sees_a_client_that_retries():
    with raw.Server(raw.close) as server:
        error_of(Retry(client(server)))
        with pytest.raises(AssertionError, match="2 requests arrived for 1 operations"):
            refuse_one_request_per_operation(server, 1)


def test_a_request_cut_off_by_a_close_may_have_been_executed():
    with raw.Server(raw.close) as server:
        error = error_of(client(server))
    assert (error.code, error.sent) == (UNAVAILABLE, True)


def test_a_reset_stream_may_have_been_executed_unless_it_was_refused():
    with raw.Server(raw.reset(2)) as server:
        assert error_of(client(server)).sent
    with raw.Server(raw.reset(http2.REFUSED_STREAM)) as server:
        assert not error_of(client(server)).sent


def test_a_farewell_below_our_stream_certifies_that_it_was_not_processed():
    with raw.Server(raw.go_away(0)) as server:
        assert not error_of(client(server)).sent


def test_a_farewell_that_includes_our_stream_still_brings_the_answer():
    def act(sock, stream, body):
        raw.go_away(stream)(sock, stream, body)
        raw.echo(sock, stream, body)

    with raw.Server(act) as server:
        unary = client(server)
        assert unary.call(METHOD, b"a") == b"a"
        assert unary.call(METHOD, b"b") == b"b"
        assert server.connections == 2  # the second call opened a connection of its own
        unary.close()


def test_a_refused_connection_sends_nothing():
    with raw.Server() as server:
        address = server.address
    error = error_of(Unary(address, timeout_s=1))
    assert (error.code, error.sent) == (UNAVAILABLE, False)
    assert "refused" in error.message


def test_a_silent_server_is_given_up_at_the_deadline():
    with raw.Server() as server:
        error = error_of(client(server, timeout_s=0.1))
    assert (error.code, error.sent) == (DEADLINE_EXCEEDED, True)


def test_a_connection_that_closed_between_calls_is_opened_anew_and_nothing_is_lost():
    def once(sock, stream, body):
        raw.echo(sock, stream, body)
        raw.close(sock, stream, body)

    with raw.Server(once) as server:
        unary = client(server)
        for n in range(3):
            assert unary.call(METHOD, b"%d" % n) == b"%d" % n
            server._threads[-1].join(5)  # the server's side is closed, the farewell is on its way
        refuse_one_request_per_operation(server, 3)
        unary.close()


def test_an_error_of_the_server_keeps_its_code_and_text():
    def act(sock, stream, _body):
        trailers = http2.literals([(":status", "200"), ("grpc-status", "8"), ("grpc-message", "too%20many")])
        sock.sendall(http2.pack(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, trailers))

    with raw.Server(act) as server:
        error = error_of(client(server))
    assert (error.code, error.message, error.sent) == (8, "too many", True)


def test_an_answer_that_is_no_grpc_is_named():
    def act(sock, stream, _body):
        block = http2.literals([(":status", "503")])
        sock.sendall(http2.pack(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, block))

    with raw.Server(act) as server:
        assert "HTTP 503" in error_of(client(server)).message


def test_padded_and_continued_frames_are_read():
    def act(sock, stream, _body):
        block, cut = raw.GRPC_OK, 5
        message = b"\x00\x00\x00\x00\x02hi"
        sock.sendall(http2.pack(http2.HEADERS, 0, stream, block[:cut]))
        sock.sendall(http2.pack(http2.CONTINUATION, http2.END_HEADERS, stream, block[cut:]))
        sock.sendall(http2.pack(http2.DATA, http2.PADDED, stream, b"\x03" + message + bytes(3)))
        end = http2.pack(http2.HEADERS, http2.END_STREAM, stream, raw.TRAILERS_OK[:2])
        sock.sendall(end + http2.pack(http2.CONTINUATION, http2.END_HEADERS, stream, raw.TRAILERS_OK[2:]))

    with raw.Server(act) as server:
        unary = client(server)
        assert unary.call(METHOD, b"x") == b"hi"
        unary.close()


def test_pings_and_settings_are_acknowledged():
    def act(sock, stream, body):
        sock.sendall(http2.pack(http2.PING, 0, 0, b"12345678"))
        raw.echo(sock, stream, body)

    with raw.Server(act) as server:
        unary = client(server)
        unary.call(METHOD, b"a")
        unary.call(METHOD, b"b")
        unary.close()
    acknowledged = {(f.kind, f.payload) for f in server.frames if f.flags & http2.ACK and f.kind != http2.DATA}
    assert {(http2.PING, b"12345678"), (http2.SETTINGS, b"")} <= acknowledged


def test_a_large_request_waits_for_the_servers_windows():
    def act(sock, stream, body):
        raw.echo(sock, stream, b"\x00" * 5 + len(body).to_bytes(4, "big"))

    small = http2.pack_settings({http2.INITIAL_WINDOW_SIZE: 1000})
    with raw.Server(act, greeting=small) as server:
        grants = raw_grants(server)
        unary = client(server)
        unary.connect()
        assert int.from_bytes(unary.call(METHOD, bytes(5000)), "big") == 5005
        unary.close()
        grants()
    pieces = [len(f.payload) for f in server.frames if f.kind == http2.DATA]
    assert sum(pieces) == 5005
    assert max(pieces) <= http2.DEFAULT_FRAME


def raw_grants(server):
    """Grant a kilobyte after each piece that arrives, as a server with a small window does."""
    import threading

    stop = threading.Event()

    def grant():
        seen = 0
        while not stop.wait(0.005):
            for frame in server.frames[seen:]:
                seen += 1
                if frame.kind == http2.DATA and not frame.flags & http2.END_STREAM:
                    server._open[-1].sendall(http2.pack_window(frame.stream, 1000) + http2.pack_window(0, 1000))

    thread = threading.Thread(target=grant, daemon=True)
    thread.start()

    def end():
        stop.set()
        thread.join()

    return end


def test_an_answer_larger_than_the_window_is_acknowledged_piece_by_piece():
    size = 20 << 20

    def act(sock, stream, _body):
        sock.sendall(http2.pack(http2.HEADERS, http2.END_HEADERS, stream, raw.GRPC_OK))
        whole = b"\x00" + size.to_bytes(4, "big") + bytes(size)
        for at in range(0, len(whole), 16384):
            sock.sendall(http2.pack(http2.DATA, 0, stream, whole[at : at + 16384]))
        sock.sendall(http2.pack(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, raw.TRAILERS_OK))

    with raw.Server(act) as server:
        unary = client(server, timeout_s=30)
        assert len(unary.call(METHOD, b"")) == size
        unary.close()
    assert sum(f.kind == http2.WINDOW_UPDATE for f in server.frames) >= 3


def test_an_honest_transport_is_left_alone():
    unary = Unary("127.0.0.1:1", timeout_s=1)
    assert sabotaged(unary, "", random.Random(1)) is unary


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.fail("openssl is missing; apt-get install openssl")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return folder


@pytest.mark.real
def test_tls_and_a_password_reach_a_real_member(tmp_path, certificates):
    from chaos.stacks.etcd.versions import DEFAULT_VERSION, provide
    from conftest import free_ports

    port, peer = free_ports(2)
    key, cert = certificates / "key.pem", certificates / "cert.pem"
    url = f"https://127.0.0.1:{port}"
    argv = [str(provide(DEFAULT_VERSION)), "--data-dir", str(tmp_path / "d"), "--listen-client-urls", url]
    argv += ["--advertise-client-urls", url, "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync"]
    argv += ["--cert-file", str(cert), "--key-file", str(key), "--log-level", "error"]
    argv += [
        "--initial-advertise-peer-urls",
        f"http://127.0.0.1:{peer}",
        "--initial-cluster",
        f"default=http://127.0.0.1:{peer}",
    ]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        speak_with_a_password(f"127.0.0.1:{port}", Tls(ca=str(cert)))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def speak_with_a_password(address, tls):
    plain, deadline = Unary(address, timeout_s=2, tls=tls), time.monotonic() + 20
    while True:
        try:
            plain.call(etcd.PUT, etcd.put_request("k", "1"))
            break
        except CallError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    named = etcd.authenticate_request("root", "secret")  # AuthUserAddRequest has the same two fields
    plain.call("/etcdserverpb.Auth/UserAdd", named)
    plain.call("/etcdserverpb.Auth/UserGrantRole", etcd.authenticate_request("root", "root"))
    plain.call("/etcdserverpb.Auth/AuthEnable", b"")
    refused = error_of(plain)
    assert refused.sent
    login = Login(**ROOT)
    user = LoggedIn(Unary(address, timeout_s=2, tls=tls), login, timeout_s=2)
    assert etcd.read_put(user.call(etcd.PUT, etcd.put_request("k", "2"))) > 0
    login.token += "-expired"
    with pytest.raises(CallError, match="invalid auth token"):
        user.call(etcd.RANGE, etcd.range_request("k"))
    assert etcd.read_range(user.call(etcd.RANGE, etcd.range_request("k"))).value == "2"
    user.close()
    wrong = LoggedIn(Unary(address, timeout_s=2, tls=tls), Login(**{**ROOT, "password": "wrong"}), timeout_s=2)
    with pytest.raises(CallError, match=r"authenticate as 'root': .*invalid user ID or password") as caught:
        wrong.call(etcd.RANGE, etcd.range_request("k"))
    assert not caught.value.sent
    wrong.close()


class Doorman:
    """A member that knows the tokens in `known`, and hands out the next one to whoever authenticates."""

    def __init__(self, known, *, slow_s=0.0):
        self.known, self.asked, self._slow_s, self._shown = known, [], slow_s, ""

    def authorize(self, token):
        self._shown = token

    def call(self, method, message):
        self.asked.append(method)
        if method == etcd.AUTHENTICATE:
            time.sleep(self._slow_s)
            self.known.append(f"t{len(self.known)}")
            return etcd.field(2, self.known[-1].encode())
        if self._shown not in self.known:
            raise CallError(UNAUTHENTICATED, "etcdserver: invalid auth token", sent=True)
        return b"done"

    def close(self):
        pass


def test_one_log_in_serves_all_users_of_a_member():
    login, known = Login(**ROOT), []
    doors = [Doorman(known, slow_s=0.05) for _ in range(8)]
    users = [LoggedIn(door, login, timeout_s=10) for door in doors]
    with ThreadPoolExecutor(len(users)) as pool:
        assert set(pool.map(lambda user: user.call(etcd.PUT, b""), users)) == {b"done"}
    assert len(known) == 1


def test_a_member_that_forgot_its_tokens_refuses_one_user_who_logs_in_for_all():
    login, known = Login(**ROOT), []
    users = [LoggedIn(Doorman(known), login, timeout_s=10) for _ in range(5)]
    assert [user.call(etcd.PUT, b"") for user in users] == [b"done"] * 5
    known[:] = ["another"]
    with pytest.raises(CallError, match="invalid auth token"):
        users[0].call(etcd.PUT, b"")
    assert [user.call(etcd.PUT, b"") for user in reversed(users)] == [b"done"] * 5
    assert known == ["another", "t1"]


def test_a_late_refusal_of_an_old_token_does_not_end_the_new_one():
    login, known = Login(**ROOT, token="old"), ["new"]  # noqa: S106 — of nobody

    class Late(Doorman):
        def call(self, method, message):
            login.token = "new"  # noqa: S105 — another user has logged in while this call was under way
            return super().call(method, message)

    with pytest.raises(CallError, match="invalid auth token"):
        LoggedIn(Late(known), login, timeout_s=10).call(etcd.PUT, b"")
    assert login.token == "new"  # noqa: S105 — see above


class Member(Doorman):
    """One whose answers can be read: to a put, and to a read of one key that is absent."""

    def call(self, method, message):
        said = super().call(method, message)
        header = etcd.put_response(1)
        return {etcd.PUT: header, etcd.TXN: header + etcd.field(3, etcd.field(1, header))}.get(method, said)


class Guarded:
    """Three members that ask for a token each; `dial` makes a connection, as a process of the load does."""

    def __init__(self):
        self.known = {name: [] for name in ("etcd1", "etcd2", "etcd3")}
        self.doors = []
        self._logins = {name: Login(**ROOT) for name in self.known}

    def dial(self, member):
        self.doors.append(Member(self.known[member]))
        return LoggedIn(self.doors[-1], self._logins[member], timeout_s=10)

    def restart(self):
        """Forget every token that was handed out."""
        for known in self.known.values():
            known[:] = [f"restarted after {len(known)}"]

    def log_ins(self):
        return sum(door.asked.count(etcd.AUTHENTICATE) for door in self.doors)


def test_users_that_dial_anew_after_each_error_log_in_again_where_a_member_has_restarted():
    members, rows = Guarded(), []
    site = Site(
        settings=KvSettings(pinned_share=0.0),
        members=tuple(members.known),
        dial=members.dial,
        keys=Keys(run_id="run", registers=10),
        clients=client_numbers(0, 1),
        record=rows.extend,
        outcome=outcome,
        pause=lambda _: None,
    )
    users = [KvClient(site, number, random.Random(number)) for number in range(6)]

    def round_of_puts():
        rows.clear()
        for user in users:
            user.put(None)
        return [row.error for row in rows]

    assert round_of_puts() == [""] * 6
    members.restart()
    assert round_of_puts().count("etcdserver: invalid auth token") == 3  # one a member
    assert round_of_puts() == [""] * 6
    assert members.log_ins() == 6


def test_final_reads_log_in_again_where_a_member_has_restarted():
    members, read = Guarded(), []
    for name in members.known:
        members.dial(name).call(etcd.PUT, b"")
    members.restart()
    back = ReadBack(
        keys=["a"],
        members=tuple(members.known),
        dial=members.dial,
        clients=client_numbers(0, 1),
        record=read.append,
        short=str,
        pause=lambda _: None,
        deadline_ns=time.monotonic_ns() + 10**9,
    )
    back.run(0)
    assert back.complete


def test_who_waits_too_long_for_a_log_in_has_sent_nothing():
    login = Login(**ROOT)
    with login.turn:
        with pytest.raises(CallError, match=r"authenticate: no turn within 0\.05 s") as caught:
            LoggedIn(Doorman([]), login, timeout_s=0.05).call(etcd.PUT, b"")
        assert (caught.value.code, caught.value.sent) == (DEADLINE_EXCEEDED, False)
