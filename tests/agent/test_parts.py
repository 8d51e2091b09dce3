"""The agent's pure parts, and the parts that touch only a folder."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.agent import journal, kernel, meter, pcapng, points, processes, replay, rules
from chaos.agent.__main__ import main as agent_main
from chaos.agent.actions import ACTIONS
from chaos.agent.flow import FILL, STAMP, Asked, Flow, thin
from chaos.agent.journal import Journal, Record
from chaos.agent.lease import Hold, Lease, ends, next_ns
from chaos.agent.shaper import Rule
from chaos.agent.trust import distrusted
from chaos.errors import AgentError
from chaos.model import NODE_ACTIONS, Cut, Direction, Impairment, Shape

settings.register_profile("unhurried", deadline=None)  # other builds share the machine
settings.load_profile("unhurried")
TIMES = st.integers(0, 10**12)


def test_every_node_action_of_the_model_has_its_file_and_no_other():
    assert set(ACTIONS) == set(NODE_ACTIONS)


# ---------------------------------------------------------------- journal


def test_a_record_outlives_its_writer_and_reads_back_as_it_was(tmp_path):
    first = Journal(tmp_path)
    record = Record(name="i1.0", kind="cut", undo={"subject": "n1", "peers": ["10.0.0.1"]})
    first.write(record)
    first.close()
    assert journal.read(tmp_path) == [record]


def test_a_journal_has_one_living_owner(tmp_path):
    first = Journal(tmp_path)
    assert journal.is_owned(tmp_path)
    with pytest.raises(AgentError, match="living process"):
        Journal(tmp_path)
    first.close()
    assert not journal.is_owned(tmp_path)


def test_the_lock_of_a_killed_owner_is_free(tmp_path):
    code = "import sys,time; from pathlib import Path; from chaos.agent.journal import Journal;"
    code += "j = Journal(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert owner.stdout.readline() == b"held\n"
        assert journal.is_owned(tmp_path)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    assert not journal.is_owned(tmp_path)


def test_a_torn_record_is_none_since_its_effect_never_began(tmp_path):
    (tmp_path / "i1.0.new").write_text('{"name": "i1.0", "ki')
    assert journal.read(tmp_path) == []


def test_a_journal_that_cannot_be_written_is_an_error_that_says_nothing_was_touched(tmp_path):
    held = Journal(tmp_path / "journal")
    (tmp_path / "journal" / "owner.lock").unlink()
    (tmp_path / "journal").rmdir()
    with pytest.raises(AgentError, match="nothing was touched"):
        held.write(Record(name="i1.0", kind="cut", undo={}))
    held.close()


def test_forgetting_is_content_to_find_nothing(tmp_path):
    held = Journal(tmp_path)
    held.forget("i1.0")
    held.close()
    assert held.records() == []


@pytest.mark.parametrize("name", ["", "../escape", ".hidden", "a/b"])
def test_a_name_never_leads_out_of_the_folder(tmp_path, name):
    held = Journal(tmp_path)
    with pytest.raises(AgentError, match="can't name an action"):
        held.write(Record(name=name, kind="cut", undo={}))
    held.close()


def test_a_journal_whose_lab_is_gone_is_healed(tmp_path):
    held = Journal(tmp_path)
    replay.note_ground(tmp_path, {"lab_socket": str(tmp_path / "lab.sock"), "nodes": []})
    held.write(Record(name="i1.0", kind="power", undo={"subject": "n1", "port": "p"}))
    held.close()
    assert replay.heal(tmp_path) == ["i1.0"]
    assert journal.read(tmp_path) == []


def test_the_heal_command_refuses_what_a_living_run_owns(tmp_path):
    held = Journal(tmp_path)
    with pytest.raises(AgentError, match="end that run first"):
        replay.heal(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "chaos.agent", "heal", str(tmp_path)], capture_output=True, text=True, check=False
    )
    held.close()
    assert done.returncode == AgentError.exit_code
    assert "living run" in done.stderr


@pytest.fixture
def found(tmp_path):
    """The journal of a dead agent, in a folder that is open to nobody else."""
    folder = tmp_path / "journal"
    held = Journal(folder)
    replay.note_ground(folder, {"lab_socket": str(tmp_path / "lab.sock"), "nodes": []})
    held.write(Record(name="i1.0", kind="power", undo={"subject": "n1", "port": "p"}))
    held.close()
    folder.chmod(0o755)
    return folder


def refused(folder, capsys):
    """Return why the command would not heal; nothing was healed."""
    assert agent_main(["heal", str(folder)]) == 2
    assert (folder / "i1.0.json").exists()
    return capsys.readouterr().err


def test_the_heal_command_heals_a_journal_that_only_we_can_have_written(found, capsys):
    assert agent_main(["heal", str(found)]) == 0
    assert capsys.readouterr().out == f"{found}: i1.0 undone\n"
    assert journal.read(found) == []


def test_the_heal_command_refuses_a_journal_that_others_can_write(found, capsys):
    found.chmod(0o777)
    assert "others may write it (mode 777); what it says would be done with the powers of" in refused(found, capsys)
    found.chmod(0o1777)  # sticky: they can't remove ours, and can add their own
    assert "others may write it (mode 1777)" in refused(found, capsys)
    found.chmod(0o775)  # who is in a group changes
    assert "others may write it (mode 775)" in refused(found, capsys)
    found.chmod(0o755)
    for mode in (0o666, 0o664):
        (found / "i1.0.json").chmod(mode)
        assert f"i1.0.json: others may write it (mode {mode:o})" in refused(found, capsys)
    (found / "i1.0.json").chmod(0o644)
    for mode in (0o777, 0o775):
        found.parent.chmod(mode)
        assert "another folder may be put in its place" in refused(found, capsys)
    found.parent.chmod(0o1777)
    assert agent_main(["heal", str(found)]) == 0


def test_the_heal_command_follows_no_link(found, tmp_path, capsys):
    (tmp_path / "link").symlink_to(found)
    assert "it is a link, or no folder" in refused(tmp_path / "link", capsys)
    (tmp_path / "elsewhere.json").write_text("{}")
    (found / "i2.0.json").symlink_to(tmp_path / "elsewhere.json")
    assert "i2.0.json: it is no regular file" in refused(found, capsys)


def test_one_folder_that_is_not_trusted_stops_the_heal_command_before_it_heals_any(found, tmp_path, capsys):
    assert agent_main(["heal", str(found), str(tmp_path / "none")]) == 2
    assert "none: it can't be read (No such file or directory)" in capsys.readouterr().err
    assert (found / "i1.0.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_heal_command_refuses_what_another_user_wrote(found, capsys):
    os.chown(found / "i1.0.json", 65534, -1)
    assert "i1.0.json: it belongs to uid 65534" in refused(found, capsys)
    os.chown(found / "i1.0.json", 0, -1)
    os.chown(found, 65534, -1)
    assert "journal: it belongs to uid 65534" in refused(found, capsys)
    os.chown(found, 0, -1)
    os.chown(found.parent, 65534, -1)  # who owns it may swap what is in it between our look and the heal
    assert "in its place: the one above belongs to uid 65534" in refused(found, capsys)
    found.parent.chmod(0o1777)
    assert "the one above belongs to uid 65534" in refused(found, capsys)
    os.chown(found.parent, 0, -1)


@pytest.mark.parametrize("umask", [0, 0o002, 0o022])
def test_a_journal_is_healed_whatever_the_umask_of_the_run_that_wrote_it(tmp_path, umask):
    before = os.umask(umask)
    try:
        held = Journal(tmp_path / "journal")
        replay.note_ground(held.folder, {"lab_socket": str(tmp_path / "lab.sock"), "nodes": []})
        held.write(Record(name="i1.0", kind="power", undo={"subject": "n1", "port": "p"}))
        held.close()
    finally:
        os.umask(before)
    assert distrusted(held.folder) == ""


# ---------------------------------------------------------------- dead-men


@given(TIMES, TIMES, TIMES, st.booleans(), st.booleans())
def test_a_deadline_ends_everything_and_the_lease_all_that_does_not_cut_control(deadline, until, now, closed, cuts):
    why = ends(Hold(name="a", deadline_ns=deadline, cuts_control=cuts), Lease(until_ns=until, closed=closed), now)
    assert bool(why) == (now >= deadline or (not cuts and (closed or now >= until)))


@given(st.lists(st.tuples(TIMES, st.booleans()), min_size=1, max_size=5), TIMES)
def test_nothing_ends_before_the_next_end_and_something_ends_at_it(pairs, until):
    holds = [Hold(name="a", deadline_ns=at, cuts_control=cuts) for at, cuts in pairs]
    lease = Lease(until_ns=until)
    at_ns = next_ns(holds, lease)
    assert any(ends(hold, lease, at_ns) for hold in holds)
    assert not any(ends(hold, lease, at_ns - 1) for hold in holds)


# ---------------------------------------------------------------- points


def test_effects_announce_their_names_in_order(tmp_path, monkeypatch):
    log = tmp_path / "points"
    monkeypatch.setenv("CHAOSGATE_POINTS_LOG", str(log))
    assert points.effect("first", lambda: 7) == 7
    points.effect("second", lambda: None)
    assert log.read_text().split() == ["first", "second"]


def test_a_process_stops_dead_just_before_the_nth_effect_of_a_name():
    code = "from chaos.agent.points import effect\nfor i in range(3): effect('a.b', lambda: print(i, flush=True))"
    env = {**os.environ, "CHAOSGATE_STOP_AT": "a.b:2"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "0\n")


def test_of_several_points_each_stops_one_process_and_lets_its_successor_pass(tmp_path):
    code = "from chaos.agent.points import effect\nfor name in 'ab': effect(name, lambda: print(name, flush=True))"
    env = {**os.environ, "CHAOSGATE_STOP_AT": "b,a", "CHAOSGATE_STOP_ONCE": str(tmp_path)}
    argv = [sys.executable, "-c", code]
    done = [subprocess.run(argv, env=env, capture_output=True, text=True, check=False) for _ in range(3)]
    assert [(one.returncode, one.stdout) for one in done] == [(-9, ""), (-9, "a\n"), (0, "a\nb\n")]


def test_a_point_may_send_another_signal():
    code = "from chaos.agent.points import announce\nannounce('a')"
    env = {**os.environ, "CHAOSGATE_STOP_AT": "a", "CHAOSGATE_STOP_BY": "SIGTERM"}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == -15


# ---------------------------------------------------------------- rules


def shape(direction="in", peers=()):
    return Rule(direction=direction, peers=peers, impairment=Impairment(delay_s=0.01))


def test_both_directions_are_two_rules_and_a_cut_has_no_impairment():
    both = rules.rules_of(Cut(peers=("n2",)), ("10.0.0.2",))
    assert [(rule.direction, rule.cut, rule.impairment) for rule in both] == [("in", True, None), ("out", True, None)]
    one = rules.rules_of(Shape(impairment=Impairment(loss=0.1), direction=Direction.OUT), ())
    assert [(rule.direction, rule.cut) for rule in one] == [("out", False)]


def test_shapes_clash_where_they_want_the_same_packets_and_nowhere_else():
    assert rules.clash(shape(), shape(peers=("10.0.0.2",)))
    assert rules.clash(shape(peers=("10.0.0.2", "10.0.0.3")), shape(peers=("10.0.0.2",)))
    assert not rules.clash(shape(peers=("10.0.0.3",)), shape(peers=("10.0.0.2",)))
    assert not rules.clash(shape("in"), shape("out"))
    assert not rules.clash(shape(), Rule(direction="in", peers=("10.0.0.2",), cut=True))


def test_cuts_stand_before_shapes():
    cut = Rule(direction="in", peers=("10.0.0.2",), cut=True)
    assert rules.in_order([("a", shape()), ("b", cut)]) == [cut, shape()]


# ---------------------------------------------------------------- flow


def flow(packets=10, **more) -> Flow:
    return Flow(3, Asked(source="a", sink="b", packets=packets, per_s=1000.0, **more), 0)


def read(packet: bytes) -> tuple[int, int]:
    _, _, sequence, stamp_ns = STAMP.unpack_from(packet)
    return sequence, stamp_ns


@given(st.lists(st.integers(0, 9), max_size=30))
def test_arrivals_add_up_whatever_the_path_does(arrivals):
    one = flow()
    packets = [one.packet(1000 * i) for i in range(10)]
    for at, number in enumerate(arrivals):
        one.arrived(*read(packets[number]), 1_000_000 + at, packets[number])
    seen = one.result()
    assert seen["received"] == len(set(arrivals)) == len(seen["delays_ns"])
    assert seen["copies"] == len(arrivals) - len(set(arrivals))
    assert seen["delays_ns"] == sorted(seen["delays_ns"])
    assert seen["corrupt"] == 0


def test_a_flipped_bit_of_the_payload_is_seen_and_its_delay_is_not_believed():
    one = flow()
    packet = bytearray(one.packet(1000))
    packet[-1] ^= 4
    one.arrived(*read(bytes(packet)), 2000, bytes(packet))
    assert (one.result()["corrupt"], one.result()["received"]) == (1, 0)


def test_a_packet_that_was_overtaken_is_late():
    one = flow(packets=3)
    packets = [one.packet(i) for i in range(3)]
    for number in (1, 2, 0):
        one.arrived(*read(packets[number]), 10, packets[number])
    assert one.result()["late"] == 1


def test_a_train_shows_the_rate_at_which_it_arrives():
    one = flow(packets=8, train=4, size=1222)  # 1250 bytes with headers: 10 000 bits
    packets = [one.packet(0) for _ in range(8)]
    for number, packet in enumerate(packets):
        one.arrived(*read(packet), number * 1_000_000, packet)
    assert one.train_rates() == pytest.approx([10e6, 10e6])


@given(st.integers(1, 200), st.integers(1, 20), st.floats(1, 1e4))
def test_sends_are_due_in_order_and_within_the_span(packets, train, per_s):
    one = flow(packets=packets)
    one.asked = Asked(source="a", sink="b", packets=packets, per_s=per_s, train=train)
    due = []
    while not one.done:
        due.append(one.due_ns())
        one.packet(0)
    assert due == sorted(due)
    assert due[-1] <= one.asked.span_ns


@pytest.mark.parametrize("wrong", [{"packets": 0}, {"per_s": 0}, {"size": 3}, {"train": 0}])
def test_a_flow_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        Asked.read({"source": "a", "sink": "b", "packets": 1, "per_s": 1.0, **wrong})


@given(st.lists(st.integers(), min_size=1, max_size=300), st.integers(2, 50))
def test_thinned_values_keep_both_ends_and_their_order(values, most):
    values.sort()
    thinned = thin(values, most)
    assert len(thinned) <= max(most, 0) or len(values) <= most
    assert (thinned[0], thinned[-1]) == (values[0], values[-1])
    assert thinned == sorted(thinned)


def test_the_filling_never_looks_empty():
    assert len(set(FILL[:256])) == 256


@pytest.fixture
def metered(monkeypatch):
    """A meter between two ends of the loopback, here, whose captures hold three packets."""
    monkeypatch.setattr(meter, "CAPTURED_MAX", 3)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    made = meter.Meter({"a": (here, "127.0.0.1"), "b": (here, "127.0.0.1")})
    yield made
    for one in (*made._plain.values(), *made._unchecked.values()):
        one.close()
    os.close(here)


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root may enter no network, its own neither")
def test_a_full_capture_shows_no_loss_that_nobody_caused(metered, tmp_path):
    flow = {"source": "a", "sink": "b", "packets": 8, "per_s": 1000.0, "train": 8}
    metered.add({"id": 1, "flows": [flow], "capture": str(tmp_path / "x.pcapng")})
    (task,) = metered._tasks
    until = time.monotonic() + 20
    while not metered.step([])[0]:
        assert time.monotonic() < until
    seen = {where: sorted(one.payload for one in task.captured if one.where == where) for where in (0, 1)}
    assert len(seen[pcapng.SENT]) == 3
    assert seen[pcapng.ARRIVED] == seen[pcapng.SENT]


# ---------------------------------------------------------------- pcapng, /proc


def test_a_capture_is_read_by_somebody_elses_parser(tmp_path):
    from scapy import utils as scapy
    from scapy.layers.inet import IP, UDP

    path = tmp_path / "x.pcapng"
    ends = (("10.0.0.1", 4000), ("10.0.0.2", 5000))
    sent = pcapng.Captured(pcapng.SENT, 1_500_000_000, *ends, b"x" * 20, 100)
    arrived = pcapng.Captured(pcapng.ARRIVED, 1_700_000_007, *ends, b"x" * 20, 100)
    path.write_bytes(pcapng.render([arrived, sent]))
    packets = scapy.rdpcap(str(path))
    assert [packet.sniffed_on for packet in packets] == ["sent", "arrived"]
    assert [float(packet.time) for packet in packets] == pytest.approx([1.5, 1.700000007])
    assert (packets[0][IP].src, packets[0][IP].dst, packets[0][UDP].dport) == ("10.0.0.1", "10.0.0.2", 5000)
    assert packets[0].wirelen == 128
    assert pcapng.checksum(bytes(packets[0])[:20]) == 0


@given(st.binary(min_size=20, max_size=20))
def test_a_header_with_its_checksum_sums_to_nothing(header):
    clean = header[:10] + b"\0\0" + header[12:]
    full = clean[:10] + struct.pack("!H", pcapng.checksum(clean)) + clean[12:]
    assert pcapng.checksum(full) == 0


def test_listeners_on_loopback_are_not_ports_of_the_node():
    table = """  sl  local_address rem_address   st
   0: 0100007F:0050 00000000:0000 0A
   1: 00000000:094B 00000000:0000 0A
   2: 0A00000A:094C 00000000:0000 01
"""
    assert processes.listening_ports(table) == [2379]
    six = "sl\n 0: 00000000000000000000000001000000:0050 0:0 0A\n 1: 00000000000000000000000000000000:0051 0:0 0A\n"
    assert processes.listening_ports(six) == [81]


def test_a_process_that_is_gone_has_no_state():
    assert processes.stat(2**22 + 1) is None
    assert processes.stat(os.getpid())["state"] == "R"


# ---------------------------------------------------------------- kernel state


def chain(name, **more):
    return {"chain": {"family": "ip", "table": "mangle", "name": name, "handle": 1} | more}


def rule(home, *expressions):
    return {"rule": {"family": "ip", "table": "mangle", "chain": home, "handle": 2, "expr": list(expressions)}}


def test_rules_that_do_nothing_are_no_difference():
    standing_by = [
        chain("PREROUTING", policy="accept"),
        chain("OURS"),
        rule("PREROUTING", {"jump": {"target": "OURS"}}),
    ]
    assert kernel.in_effect([{"metainfo": {}}, *standing_by]) == []


@pytest.mark.parametrize("text", ["echo no >&2; exit 3", "echo nonsense"])
def test_what_no_program_can_tell_of_is_not_looked_at(tmp_path, monkeypatch, capfd, text):
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernel._of(here) == {"links": None, "qdiscs": None, "rules": None}
    tool = tmp_path / "ip"
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(0o755)
    assert kernel._of(here) == {"links": None, "qdiscs": None, "rules": None}
    os.close(here)
    with pytest.raises(OSError, match=r"ip -j link (ended with 3: no|said no JSON)") as failed:
        kernel.ask(kernel.LINKS)
    assert f"not looked at: {failed.value}" in capfd.readouterr().err


def test_rules_that_do_something_are_a_difference_whatever_they_counted():
    jump = rule("PREROUTING", {"jump": {"target": "OURS"}})
    dropping = [chain("PREROUTING", policy="accept"), chain("OURS"), jump, rule("OURS", {"drop": None})]
    assert len(kernel.in_effect(dropping)) == 4
    assert kernel.in_effect([chain("INPUT", policy="drop")]) != []
    counted = [rule("OURS", {"counter": {"packets": n}}, {"drop": None}) for n in (1, 2)]
    assert kernel.in_effect([chain("OURS"), counted[0]]) == kernel.in_effect([chain("OURS"), counted[1]])


# ---------------------------------------------------------------- protocol


def converse(*requests) -> list[dict]:
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        [sys.executable, "-m", "chaos.agent"], input=text, capture_output=True, text=True, check=False, timeout=30
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_agent_that_knows_no_lab_does_nothing_and_says_why():
    (answer,) = converse({"id": 7, "op": "inject", "name": "x"}, {"id": 8, "op": "bye"})
    assert answer["id"] == 7
    assert "say hello first" in answer["error"]


def test_a_hello_without_a_journal_is_refused(tmp_path):
    (tmp_path / "file").touch()
    hello = {"id": 1, "op": "hello", "nodes": [], "journal": str(tmp_path / "file" / "x"), "lease_s": 1}
    (answer,) = converse(hello)
    assert "nothing was touched" in answer["error"]


def test_the_agent_needs_nothing_but_the_standard_library():
    code = "import sys, chaos.agent.serve, chaos.agent.meter; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = set(done.stdout.split()) - sys.stdlib_module_names - {"chaos", "__main__"}
    assert not {name for name in foreign if not name.startswith(("_", "sitecustomize"))}


@pytest.mark.parametrize(
    ("flags", "operstate", "told"),
    [
        (["UP", "LOWER_UP"], "UNKNOWN", "UP"),  # a bridge that the kernel has not got round to
        (["UP", "LOWER_UP"], "UP", "UP"),
        (["UP", "NO-CARRIER"], "UNKNOWN", "UNKNOWN"),
        (["NO-CARRIER", "UP"], "DOWN", "DOWN"),
        ([], "UNKNOWN", "UNKNOWN"),
    ],
)
def test_a_link_with_a_carrier_whose_state_nobody_tells_is_up(flags, operstate, told):
    assert kernel._state({"ifname": "br0", "flags": flags, "operstate": operstate})["operstate"] == told
