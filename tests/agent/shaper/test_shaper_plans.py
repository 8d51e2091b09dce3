"""What the backends tell the kernel, as pure functions of rules: tables, chains, tc lines, programs, the heap."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.agent.shaper import Port, Rule, ShaperError, bpf
from chaos.agent.shaper.cut import Refusal, check_peers, refusals, ruleset
from chaos.agent.shaper.netem import arguments, root
from chaos.agent.shaper.nfqueue import PAYLOAD, attribute, content_of, verdict_prefix, verdict_with
from chaos.agent.shaper.pipelines import QUEUE_BASE, chain, pipelines, refuse
from chaos.agent.shaper.schedule import PACKETS_MAX, Schedule
from chaos.agent.shaper.values import Table, rules_from_json, rules_to_json, table
from chaos.model import Burst, Impairment

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
PORTS = [
    Port(node=f"n{i}", address=f"10.0.0.{i}", hub_netns=9, hub_ifname=f"p{i}", node_netns=10 + i, node_ifname="eth0")
    for i in (1, 2, 3)
]
SLOW, LOSSY = Impairment(delay_s=0.05), Impairment(loss=0.1)
CUT = Rule(direction="in", cut=True)

rules = st.lists(
    st.builds(
        Rule,
        direction=st.sampled_from(["in", "out"]),
        peers=st.lists(st.sampled_from([A, B, C]), max_size=3).map(tuple),
        impairment=st.sampled_from([SLOW, LOSSY, None, Impairment(burst=Burst(enter=0.1, leave=0.5))]),
    )
    | st.builds(
        Rule, direction=st.sampled_from(["in", "out"]), peers=st.sampled_from([(), (A,), (B, C)]), cut=st.just(True)
    ),
    max_size=6,
)


def naive(listed, direction, peer):
    """The definition: the first rule of that direction that names the peer, or nobody."""
    return next((r for r in listed if r.direction == direction and (not r.peers or peer in r.peers)), None)


# ---------------------------------------------------------------- rules


@given(rules, st.sampled_from(["in", "out"]), st.sampled_from([A, B, C, "10.9.9.9"]))
def test_a_table_says_the_same_as_reading_the_list(listed, direction, peer):
    assert table(listed, direction).of(peer) == naive(listed, direction, peer)


@given(rules)
def test_rules_survive_json(listed):
    assert rules_from_json(json.loads(json.dumps(rules_to_json(listed)))) == tuple(listed)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"direction": "up"}, "'up' is neither"),
        ({"direction": "in", "peers": ("etcd1",)}, "'etcd1' is not an IPv4 address"),
        ({"direction": "in", "cut": True, "impairment": SLOW}, "a cut has no impairment"),
        ({"direction": "in", "impairment": Impairment(loss=1.5)}, "loss is 1.5"),
        ({"direction": "in", "impairment": Impairment(burst=Burst(enter=2, leave=0.1))}, "burst.enter is 2"),
        ({"direction": "in", "impairment": Impairment(loss=0.1, burst=Burst(enter=0.1, leave=0.1))}, "exclude each"),
        ({"direction": "in", "impairment": Impairment(delay_s=-1)}, "negative"),
        ({"direction": "in", "impairment": Impairment(distribution="odd")}, "'odd' is none of uniform"),
        ({"direction": "in", "impairment": Impairment(rate_bit_s=0)}, "to stop everything, cut"),
        ({"direction": "in", "impairment": Impairment(reorder=0.1)}, "reorder needs a delay"),
    ],
)
def test_a_senseless_rule_is_refused_with_what_is_wrong(wrong, says):
    with pytest.raises(ShaperError, match=says):
        Rule(**wrong)


# ---------------------------------------------------------------- cuts


@given(rules, rules)
def test_a_node_refuses_exactly_what_the_first_matching_rules_cut(of_one, of_two):
    found = refusals({"n1": of_one, "n2": of_two}, PORTS)
    for receiver in PORTS:
        for sender in PORTS:
            if sender is not receiver:
                heard = naive({"n1": of_one, "n2": of_two}.get(receiver.node, []), "in", sender.address)
                sent = naive({"n1": of_one, "n2": of_two}.get(sender.node, []), "out", receiver.address)
                wanted = bool((heard and heard.cut) or (sent and sent.cut))
                refusal = found[receiver.node]
                assert wanted == ((sender.address in refusal.addresses) != refusal.everybody)


def test_a_refusal_is_one_transaction_on_our_table_only():
    text = ruleset(Refusal(addresses=(B, C)), "eth0")
    assert text.startswith("add table inet chaosgate\ndelete table inet chaosgate\ntable inet chaosgate {")
    assert 'iifname "eth0" ip saddr { 10.0.0.2, 10.0.0.3 } counter drop' in text
    assert "flush" not in text


def test_a_refusal_of_everybody_accepts_the_spared_first():
    lines = ruleset(Refusal(addresses=(B,), everybody=True), "eth0").splitlines()
    accepted = next(i for i, line in enumerate(lines) if line.endswith("{ 10.0.0.2 } accept"))
    assert lines[accepted + 1].endswith("meta nfproto ipv4 counter drop")


def test_nothing_refused_is_no_table():
    assert "{" not in ruleset(Refusal(), "eth0")


def test_a_cut_towards_an_address_without_a_port_is_refused():
    with pytest.raises(ShaperError, match=r"10\.9\.9\.9 is no port"):
        check_peers([Rule(direction="out", peers=("10.9.9.9",), cut=True)], PORTS)


# ---------------------------------------------------------------- nfqueue


@given(rules, rules)
def test_a_packet_meets_the_senders_rule_and_then_the_receivers(of_one, of_two):
    listed = {"n1": of_one, "n2": of_two}
    plan = pipelines(listed, PORTS, PORTS[0])
    sent, heard = naive(of_two, "out", A), naive(of_one, "in", B)
    wanted = [(node, rule) for node, rule in (("n2", sent), ("n1", heard)) if rule and rule.impairment]
    assert list(plan[QUEUE_BASE + 2]) == wanted


def test_a_chain_sends_each_sender_to_its_queue_and_lets_the_others_return():
    plan = pipelines({"n1": [Rule(direction="in", peers=(B,)), Rule(direction="in", impairment=SLOW)]}, PORTS, PORTS[0])
    assert chain(plan, PORTS).splitlines() == [
        "*mangle",
        ":CHAOSGATE - [0:0]",
        "-A CHAOSGATE -s 10.0.0.2 -j RETURN",
        f"-A CHAOSGATE -s 10.0.0.3 -j NFQUEUE --queue-num {QUEUE_BASE + 3} --queue-bypass",
        f"-A CHAOSGATE -j NFQUEUE --queue-num {QUEUE_BASE} --queue-bypass",
        "COMMIT",
    ]


def test_nfqueue_refuses_peers_that_it_cannot_tell_apart():
    with pytest.raises(ShaperError, match=r"10\.9\.9\.9 is no port"):
        refuse([Rule(direction="in", peers=("10.9.9.9",), impairment=SLOW)], PORTS)


def test_a_verdict_names_queue_verdict_and_packet():
    verdict = verdict_prefix(0x1234, 1) + b"\0\0\0\7"
    assert struct.unpack_from("<I", verdict) == (len(verdict),)
    assert struct.unpack_from(">HxxxxII", verdict, 18) == (0x1234, 1, 7)


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=300))
def test_the_content_of_a_message_is_found_behind_other_attributes(other, content):
    data = bytes(20) + attribute(1, other) + attribute(PAYLOAD, content)
    assert content_of(memoryview(data)) == content
    assert content_of(memoryview(verdict_with(1, b"\0\0\0\1", content))) == content
    assert content_of(memoryview(bytes(20) + attribute(1, other))) == b""


# ---------------------------------------------------------------- netem


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Impairment(delay_s=0.05), "netem limit 100000 delay 50000us"),
        (Impairment(delay_s=0.05, jitter_s=0.01), "netem limit 100000 delay 50000us 10000us"),
        (
            Impairment(delay_s=0.05, jitter_s=0.01, correlation=0.25, distribution="pareto"),
            "netem limit 100000 delay 50000us 10000us 25.000000% distribution pareto",
        ),
        (Impairment(loss=0.005), "netem limit 100000 loss random 0.500000%"),
        (
            Impairment(burst=Burst(enter=0.02, leave=0.2)),
            "netem limit 100000 loss gemodel 2.000000% 20.000000% 100.000000% 0.000000%",
        ),
        (Impairment(delay_s=0.02, ordered=True), "netem limit 100000 delay 20000us rate 100000000000bit"),
        (Impairment(rate_bit_s=1e6), "netem limit 21 rate 1000000bit"),
        (
            Impairment(delay_s=0.02, duplicate=0.2, reorder=0.25, corrupt=0.3),
            "netem limit 100000 delay 20000us duplicate 20.000000% reorder 25.000000% corrupt 30.000000%",
        ),
    ],
)
def test_an_impairment_in_tcs_words(asked, words):
    assert arguments(asked) == words


def test_each_rule_has_a_band_and_what_no_rule_matches_has_the_first():
    listed = [Rule(direction="in", peers=(A,)), Rule(direction="in", peers=(B,), impairment=LOSSY)]
    lines = root("p1", table([*listed, Rule(direction="in", impairment=SLOW)], "in"), "src")
    assert lines[0].startswith("qdisc add dev p1 root handle c4a0: prio bands 3 priomap 0 0")
    assert lines[1].startswith("qdisc add dev p1 parent c4a0:2 netem limit 100000 loss")
    assert lines[3:] == [
        "filter add dev p1 parent c4a0: protocol ip prio 1 u32 match ip src 10.0.0.1/32 flowid c4a0:1",
        "filter add dev p1 parent c4a0: protocol ip prio 1 u32 match ip src 10.0.0.2/32 flowid c4a0:2",
        "filter add dev p1 parent c4a0: protocol ip prio 2 u32 match u32 0 0 flowid c4a0:3",
    ]


def test_more_rules_than_bands_are_refused():
    peers = {f"10.0.1.{n}": Rule(direction="in", impairment=Impairment(delay_s=n / 1000)) for n in range(1, 17)}
    with pytest.raises(ShaperError, match="16 different rules on p1, and at most 15 fit"):
        root("p1", Table(by_peer=peers), "src")


# ---------------------------------------------------------------- programs, heap


def test_the_assembler_encodes_as_the_kernels_documentation_says():
    code = bpf.Assembler()
    code.mov("r0", 0)
    code.jump("jeq", "r1", 7, "end")
    code.read("w", "r2", "r1", 8)
    code.write("w", "r10", -4, "r2")
    code.label("end")
    code.exit(-1)
    assert code.assemble().hex(" ", 8) == (
        "b700000000000000 1601020007000000 6112080000000000 632afcff00000000 b7000000ffffffff 9500000000000000"
    )


def test_a_jump_to_nowhere_is_an_error():
    code = bpf.Assembler()
    code.go("nowhere")
    with pytest.raises(KeyError, match="nowhere"):
        code.assemble()


class Gate:
    """A lane that notes what leaves."""

    def __init__(self):
        self.held = 0
        self.left = []

    def emit(self, payload):
        self.left.append(payload)


@given(st.lists(st.integers(1, 50), max_size=40))
def test_packets_leave_by_time_and_then_by_arrival(times):
    schedule, gate = Schedule(), Gate()
    for number, due in enumerate(times):
        assert schedule.put(due, gate, bytes([number]))
    assert schedule.next_ns() == min(times, default=0)
    schedule.release(lambda: 25)
    due = sorted((due, number) for number, due in enumerate(times))
    assert gate.left == [bytes([number]) for due, number in due if due <= 25]
    assert gate.held == len(times) - len(gate.left)
    schedule.flush()
    assert gate.left == [bytes([number]) for _, number in due]
    assert gate.held == 0


def test_flushing_a_lane_leaves_the_other_lanes_alone():
    schedule, one, other = Schedule(), Gate(), Gate()
    schedule.put(1, one, b"a")
    schedule.put(2, other, b"b")
    schedule.flush(one)
    assert (one.left, other.left, schedule.next_ns()) == ([b"a"], [], 2)


def test_a_full_heap_says_no():
    schedule, gate = Schedule(), Gate()
    assert all(schedule.put(1, gate, b"") for _ in range(PACKETS_MAX))
    assert not schedule.put(1, gate, b"")
    schedule.flush()
    assert schedule.put(1, gate, b"")
