"""Who hears whom in a lab, and how threads and helpers get in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from chaos.errors import TargetError
from chaos.model import Process
from chaos.targets.netns import lab as lab_module
from chaos.targets.netns.lab import Lab
from tests.leftovers import await_true
from tests.targets.netns.asking import (
    as_root,
    ask,
    exists,
    inside,
    nodes,
    own_network,
    reaches,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(not as_root, reason="ordinary users: test_netns_unprivileged.py")]


def test_nodes_reach_each_other_and_the_hub_and_nothing_else(lab):
    b = lab.topology.node("b").address
    assert reaches(lab, "a", b)
    assert reaches(lab, "a", b.rsplit(".", 1)[0] + ".1")
    assert reaches(lab, "", b)
    assert not reaches(lab, "a", "192.0.2.1")
    routes = inside(lab, "a", "ip", "-j", "route")[1]
    assert [route["dev"] for route in json.loads(routes)] == ["eth0"]
    assert [route["dev"] for route in json.loads(inside(lab, "", "ip", "-j", "route")[1])] == ["br0"]


def test_nodes_know_each_other_by_name_and_themselves_by_hostname(lab, name, tmp_path):
    assert reaches(lab, "a", "c")
    log = tmp_path / "log"
    lab.start("b", Process(name=name, argv=("uname", "-n"), log=str(log)))
    await_true("the hostname is logged", lambda: log.exists() and log.read_text() == "b\n")


def test_two_labs_do_not_meet(tmp_path, monkeypatch):
    """Even with the very same addresses: what is asked in one lab is never answered by the other."""
    monkeypatch.setattr(lab_module.secrets, "randbelow", lambda _: 7)
    with Lab.open(nodes("a"), base=tmp_path) as one, Lab.open(nodes("a", "b"), base=tmp_path) as two:
        assert one.topology.node("a").address == two.topology.node("a").address
        assert reaches(two, "a", two.topology.node("b").address)
        assert not reaches(one, "a", two.topology.node("b").address)


def test_no_ipv6_walks_around_a_cut(lab):
    assert inside(lab, "a", "ip", "-6", "address")[1] == ""


def test_a_thread_enters_a_node_and_leaves_again(lab):
    own = own_network()
    with lab.entered("a"), socket.socket() as server:
        server.bind((lab.topology.node("a").address, 4000))
        server.listen()
        with lab.entered("b"), socket.create_connection(server.getsockname(), timeout=5) as client:
            assert client.getsockname()[0] == lab.topology.node("b").address
        assert own_network() == f"net:[{os.fstat(lab.node_netns('a')).st_ino}]"
    assert own_network() == own


def test_a_thread_leaves_by_an_exception_too(lab):
    own = own_network()
    with pytest.raises(RuntimeError), lab.entered():
        raise RuntimeError
    assert own_network() == own


def test_a_helper_finds_the_network_of_a_node_without_power_too(lab):
    ask(lab, "", "poweroff", node="c")
    try:
        path = ask(lab, "", "nodes")["nodes"]["c"]["netns"]
        out = inside(lab, "", "nsenter", f"--net={path}", "ip", "-br", "address")[1]
    finally:
        ask(lab, "", "boot", node="c")
    assert lab.topology.node("c").address in out


def test_ports_are_found_in_the_hub(lab):
    with lab.entered():
        names = {name for _, name in socket.if_nameindex()}
    assert {lab.port(node) for node in "abc"} <= names
    assert lab._init.alive
    with pytest.raises(TargetError, match="there are: a, b, c"):
        lab.port("d")


def test_a_long_name_still_has_a_port(tmp_path):
    with Lab.open(nodes("taskmanager-number-one"), base=tmp_path) as lab:
        with lab.entered():
            assert lab.port("taskmanager-number-one") in {name for _, name in socket.if_nameindex()}
        assert lab.start("taskmanager-number-one", Process(name="p", argv=("true",))).starts == 1


def test_a_helper_is_in_the_lab_and_talks_to_us(lab):
    with lab.spawn("a", ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as helper:
        assert helper.communicate(b"word", timeout=10)[0] == b"word"
    assert helper.returncode == 0
    assert inside(lab, "", "sh", "-c", "readlink /proc/1/ns/pid /proc/self/ns/pid | uniq | wc -l") == (0, "1\n")
    assert inside(lab, "a", "pwd") == (0, f"{Path.cwd()}\n")


def test_a_helper_ends_as_its_program_ends(lab):
    assert inside(lab, "a", "sh", "-c", "exit 3")[0] == 3
    assert inside(lab, "a", "sh", "-c", "kill -9 $$")[0] == -signal.SIGKILL
    assert inside(lab, "a", "/no/such/program") == (
        127,
        "can't start '/no/such/program': [Errno 2] No such file or directory\n",
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_helper_dies_with_its_handle(lab, how):
    with lab.spawn("a", ["sh", "-c", "readlink -f /proc/self; exec sleep 1000"], stdout=subprocess.PIPE) as helper:
        assert helper.stdout is not None
        assert helper.stdout.readline()
        program = int(Path(f"/proc/{helper.pid}/task/{helper.pid}/children").read_text())
        helper.send_signal(how)
        assert helper.wait(5) == -how
    await_true("the program is gone", lambda: not exists(program))
