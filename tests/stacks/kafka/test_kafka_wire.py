"""The protocol's encoding, and what a broker's silence, refusal or nonsense becomes."""

from __future__ import annotations

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.stacks.kafka import client, wire
from chaos.stacks.kafka.client import Brokers
from chaos.stacks.kafka.wire import KafkaError, Reader, Wire


@given(st.integers(0, 2**35))
def test_a_varint_comes_back_and_takes_a_byte_for_seven_bits(value):
    data = wire.uvarint(value)
    assert Reader(data).uvarint() == value
    assert len(data) == max(1, -(-value.bit_length() // 7))


@given(st.lists(st.text(max_size=200), max_size=20))
def test_strings_and_arrays_come_back_in_both_encodings(texts):
    old = Reader(wire.array([wire.string(text) for text in texts]))
    assert old.array(old.string) == texts
    new = Reader(wire.compact_array([wire.compact_string(text) for text in texts]))
    assert new.compact_array(new.compact_string) == texts


@given(st.binary(max_size=40))
def test_an_answer_that_is_too_short_is_an_error_and_nothing_else(data):
    reader = Reader(data)
    with pytest.raises((KafkaError, UnicodeDecodeError)):
        list(iter(reader.compact_string, object()))  # until it fails


def test_tags_of_a_newer_broker_are_skipped():
    reader = Reader(b"\x02\x00\x01A\x01\x02BC" + wire.int32(7))
    reader.tags()
    assert reader.int32() == 7


class Speaker:
    """A server that answers each question with the next of some bodies; None: it closes the connection."""

    def __init__(self, *bodies, flexible=False, correlation=None):
        self.bodies, self.flexible, self.correlation = list(bodies), flexible, correlation
        self.asked = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        peer, _ = self.server.accept()
        with peer:
            while self.bodies and len(size := peer.recv(4)) == 4:
                question = peer.recv(struct.unpack(">i", size)[0])
                self.asked.append(question)
                body = self.bodies.pop(0)
                if body is None:
                    return
                number = self.correlation or struct.unpack(">i", question[4:8])[0]
                answer = wire.int32(number) + (b"\0" if self.flexible else b"") + body
                peer.sendall(wire.int32(len(answer)) + answer)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.close()
        self.thread.join(5)


def asked(question, *bodies, **how):
    with Speaker(*bodies, **how) as speaker, Wire(speaker.endpoint, timeout_s=5) as connection:
        return question(connection)


def metadata_body():
    broker = wire.int32(1) + wire.string("h") + wire.int32(9092) + wire.int16(-1)
    ids = wire.array([wire.int32(1)])
    partitions = [
        wire.int16(0) + wire.int32(index) + wire.int32(leader) + wire.int32(0) + ids + ids + wire.array([])
        for index, leader in ((1, -1), (0, 1))
    ]
    topic = wire.int16(0) + wire.string("in") + wire.int8(0) + wire.array(partitions) + wire.int32(0)
    head = wire.int32(0) + wire.array([broker]) + wire.string("id") + wire.int32(1)
    return head + wire.array([topic]) + wire.int32(0)


def test_metadata_is_read_with_partitions_in_order():
    found = asked(client.metadata, metadata_body())
    assert found.brokers == {1}
    assert [(p.index, p.leader, p.in_sync) for p in found.topics["in"]] == [(0, 1, (1,)), (1, -1, (1,))]


def test_a_controller_that_knows_of_none_says_so():
    body = wire.int32(0) + wire.int16(0) + wire.uvarint(0) + wire.int8(2) + wire.compact_string("id") + wire.int32(-1)
    assert asked(client.controller, body, flexible=True) == -1


def test_the_quorum_is_told_by_the_active_controller_alone():
    def body(code):
        voters = [wire.int32(n) + wire.int64(100 + n) + b"\0" for n in (1, 2)]
        head = wire.int32(0) + wire.int16(code) + wire.int32(2) + wire.int32(7) + wire.int64(99)
        partition = head + wire.compact_array(voters) + wire.compact_array([]) + b"\0"
        topic = wire.compact_string("__cluster_metadata") + wire.compact_array([partition]) + b"\0"
        return wire.int16(0) + wire.compact_array([topic]) + b"\0"

    told = asked(client.quorum, body(0), flexible=True)
    assert (told.leader, told.epoch, told.high_watermark, told.log_ends) == (2, 7, 99, {1: 101, 2: 102})
    with pytest.raises(KafkaError, match="not the leader") as refusal:
        asked(client.quorum, body(6), flexible=True)
    assert refusal.value.code == 6


def created(code, message=""):
    topic = wire.string("in") + wire.int16(code) + (wire.string(message) if message else wire.int16(-1))
    body = wire.int32(0) + wire.array([topic])
    how = {"partitions": 4, "replicas": 3, "config": {"min.insync.replicas": "2"}, "timeout_s": 1.0}
    return asked(lambda one: client.create_topic(one, "in", **how), body)


def test_a_topic_that_is_there_already_is_no_error_and_one_that_is_refused_is():
    created(0)
    created(36)
    with pytest.raises(KafkaError, match="topic in: too few brokers for so many replicas"):
        created(38)
    with pytest.raises(KafkaError, match="topic in: its own words"):
        created(44, "its own words")


def test_end_offsets_leave_out_what_the_broker_does_not_lead():
    rows = [(0, 0, 42), (1, 6, -1)]
    found = [wire.int32(i) + wire.int16(c) + wire.int64(-1) + wire.int64(o) + wire.int32(3) for i, c, o in rows]
    body = wire.int32(0) + wire.array([wire.string("in") + wire.array(found)])
    assert asked(lambda one: client.end_offsets(one, {"in": [0, 1]}, stable=True), body) == {("in", 0): 42}


@pytest.mark.parametrize(
    ("body", "how", "said"),
    [
        (None, {}, "closed the connection"),
        (b"", {"correlation": 99}, "answered another question"),
        (b"\0", {}, "shorter than its schema"),
    ],
)
def test_what_is_no_answer_is_an_error_without_a_code(body, how, said):
    with pytest.raises(KafkaError, match=said) as refusal:
        asked(client.metadata, body, **how)
    assert refusal.value.code == 0


def test_a_server_of_another_protocol_is_told_apart():
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.recv(1000)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with (
        server,
        Wire(f"127.0.0.1:{server.getsockname()[1]}", timeout_s=5) as one,
        pytest.raises(KafkaError, match="speak"),
    ):
        client.metadata(one)
    thread.join(5)


def test_silent_brokers_cost_one_timeout_together_and_the_others_answer():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        endpoints = {f"kafka{n}": f"127.0.0.1:{deaf.getsockname()[1]}" for n in (1, 2)} | {"kafka3": nobody}
        answers = Brokers(endpoints=endpoints, quorum=endpoints).look(0.3)
    assert {name: type(answer) for name, answer in answers.items()} == dict.fromkeys(endpoints, KafkaError)
    assert "refused" in str(answers["kafka3"])
