from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import etcd_messages as etcd
from workloads import http2
from workloads.unary import CallError, Unary

texts = st.text(min_size=1, max_size=300)
numbers = st.integers(min_value=0, max_value=2**63 - 1)


def key_value(key, value, revision):
    return etcd.field(1, key.encode()) + b"\x18" + etcd.varint(revision) + etcd.field(5, value.encode())


def header(revision):
    return etcd.field(1, b"\x08" + etcd.varint(2**64 - 1) + b"\x18" + etcd.varint(revision))


@given(key=texts, value=texts)
def test_a_put_request_has_key_and_value_in_fields_1_and_2(key, value):
    assert dict(etcd.fields(etcd.put_request(key, value))) == {1: key.encode(), 2: value.encode()}


def test_a_put_request_is_the_bytes_that_protobuf_makes():
    assert etcd.put_request("a", "1") == b"\n\x01a\x12\x011"


@given(number=numbers)
def test_varints_come_back(number):
    assert list(etcd.fields(b"\x08" + etcd.varint(number))) == [(1, number)]


@given(revision=numbers)
def test_a_put_response_gives_its_revision(revision):
    assert etcd.read_put(header(revision)) == revision
    assert etcd.read_put(etcd.put_response(revision)) == revision


@given(found=st.lists(st.tuples(texts, texts, numbers), max_size=3), revision=numbers)
def test_a_range_response_gives_its_keys(found, revision):
    data = header(revision) + b"".join(etcd.field(2, key_value(*kv)) for kv in found)
    read = etcd.read_range(data)
    assert (read.revision, [tuple(kv) for kv in read.found]) == (revision, found)
    assert read.value == (found[0][1] if found else None)


def test_a_value_that_is_no_text_is_shown_and_not_hidden():
    data = header(1) + etcd.field(2, etcd.field(1, b"k") + etcd.field(5, b"\xff\x00"))
    assert etcd.read_range(data).value == "\\xff\x00"


@given(data=st.binary(max_size=60))
def test_garbage_is_refused_and_nothing_else_is_raised(data):
    for read in (etcd.read_put, etcd.read_range, etcd.read_txn, etcd.read_token):
        try:
            read(data)
        except etcd.MessageError:
            continue


@given(cut=st.integers(min_value=1, max_value=10))
def test_a_torn_message_is_refused(cut):
    whole = etcd.field(2, key_value("key", "value", 7))
    with pytest.raises(etcd.MessageError):
        etcd.read_range(whole[:-cut])


@given(st.binary(max_size=80), st.lists(st.integers(min_value=1, max_value=9), max_size=20))
def test_frames_come_out_whole_however_they_come_in(payload, cuts):
    data = http2.pack(http2.DATA, 1, 5, payload) * 2
    reader, at, out = http2.FrameReader(), 0, []
    for size in [*cuts, len(data)]:
        reader.feed(data[at : at + size])
        at += size
        while frame := reader.next():
            out.append(frame)
    assert out == [http2.Frame(http2.DATA, 1, 5, payload)] * 2


def test_a_frame_larger_than_allowed_is_refused():
    reader = http2.FrameReader(limit=10)
    reader.feed(http2.pack(http2.DATA, 0, 1, bytes(11)))
    with pytest.raises(http2.ProtocolError, match="frame of 11 bytes"):
        reader.next()


@given(headers=st.lists(st.tuples(st.sampled_from(["a", "te", "x" * 130]), st.text("abc", max_size=300)), max_size=5))
def test_literal_headers_are_read_back_by_hpack(headers):
    from hpack import Decoder

    assert [
        (str(n), str(v)) for n, v in Decoder(max_header_list_size=1 << 20).decode(http2.literals(headers))
    ] == headers


@given(
    seeds=st.lists(
        st.lists(st.sampled_from([("a", "1"), ("a", "2"), ("b", "3"), (":status", "200")]), min_size=1, max_size=3),
        max_size=30,
    )
)
def test_looking_blocks_up_gives_what_decoding_gives(seeds):
    from hpack import Encoder

    encoder, blocks = Encoder(), http2.HeaderBlocks()
    for headers in seeds:
        assert blocks.decode(encoder.encode(headers)) == dict(headers)


@pytest.mark.real
class TestAgainstEtcd:
    @pytest.fixture
    def ask(self, shared_etcd):
        unary = Unary(shared_etcd.address, timeout_s=5)
        yield unary.call
        unary.close()

    @pytest.fixture
    def gateway(self, shared_etcd):
        import base64

        import httpx

        def value_of(key):
            body = {"key": base64.b64encode(key.encode()).decode()}
            found = httpx.post(f"http://{shared_etcd.address}/v3/kv/range", json=body).json().get("kvs", [])
            return base64.b64decode(found[0].get("value", "")).decode() if found else None

        return value_of

    def test_a_put_is_what_the_gateway_shows(self, ask, gateway):
        first = etcd.read_put(ask(etcd.PUT, etcd.put_request("p", "ä" * 200)))
        assert gateway("p") == "ä" * 200
        assert etcd.read_put(ask(etcd.PUT, etcd.put_request("p", "2"))) == first + 1

    def test_a_get_reads_the_value_or_nothing(self, ask):
        revision = etcd.read_put(ask(etcd.PUT, etcd.put_request("g", "1")))
        read = etcd.read_range(ask(etcd.RANGE, etcd.range_request("g")))
        assert read.found == (etcd.KeyValue("g", "1", revision),)
        assert read.revision == revision
        assert etcd.read_range(ask(etcd.RANGE, etcd.range_request("g-none", serializable=True))).value is None

    def test_a_swap_happens_only_if_the_value_is_as_expected(self, ask, gateway):
        ask(etcd.PUT, etcd.put_request("c", "1"))
        done = etcd.read_txn(ask(etcd.TXN, etcd.swap_request("c", "1", "2")))
        refused = etcd.read_txn(ask(etcd.TXN, etcd.swap_request("c", "1", "3")))
        assert done.succeeded
        assert gateway("c") == "2"
        assert not refused.succeeded
        assert refused.ranges[0].value == "2"

    def test_a_swap_from_nothing_needs_an_absent_key(self, ask, gateway):
        done = etcd.read_txn(ask(etcd.TXN, etcd.swap_request("n", None, "1")))
        refused = etcd.read_txn(ask(etcd.TXN, etcd.swap_request("n", None, "2")))
        assert (done.succeeded, refused.succeeded, gateway("n")) == (True, False, "1")

    def test_batches_write_and_read_many_keys_at_one_revision(self, ask, gateway):
        puts = [(f"b{n}", str(n)) for n in range(100)]
        revision = etcd.read_txn(ask(etcd.TXN, etcd.puts_request(puts))).revision
        read = etcd.read_txn(ask(etcd.TXN, etcd.ranges_request([*(key for key, _ in puts), "b-none"])))
        assert [r.value for r in read.ranges] == [value for _, value in puts] + [None]
        assert {r.found[0].mod_revision for r in read.ranges[:-1]} == {revision}
        assert gateway("b99") == "99"

    def test_guarded_puts_happen_only_while_no_guard_exists(self, ask, gateway):
        condition = etcd.all_absent([f"guard{n}" for n in range(100)])
        assert etcd.read_txn(ask(etcd.TXN, etcd.puts_request([("guarded", "1")], condition=condition))).succeeded
        ask(etcd.PUT, etcd.put_request("guard57", "here"))
        assert not etcd.read_txn(ask(etcd.TXN, etcd.puts_request([("guarded", "2")], condition=condition))).succeeded
        assert gateway("guarded") == "1"

    def test_etcd_says_what_is_wrong(self, ask):
        with pytest.raises(CallError, match="duplicate key given in txn request") as caught:
            ask(etcd.TXN, etcd.puts_request([("d", "1"), ("d", "2")]))
        assert caught.value.code == 3
        with pytest.raises(CallError, match="unknown service") as caught:
            ask("/none.Such/Call", b"")
        assert caught.value.code == 12

    def test_a_large_value_passes_the_windows_both_ways(self, ask):
        value = "x" * 1_000_000
        ask(etcd.PUT, etcd.put_request("large", value))
        assert etcd.read_range(ask(etcd.RANGE, etcd.range_request("large"))).value == value
