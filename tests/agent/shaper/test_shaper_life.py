"""How a shaper begins and ends: in order, by the death of each of its processes, and next to somebody else's things."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from shaperlab import ShaperLab, process_exists, wait_until

from chaos.agent.shaper import Rule, ShaperError, keeper, open_shaper, probe
from chaos.agent.shaper.child import ROOT
from chaos.agent.shaper.netem import NetemShaper
from chaos.agent.shaper.values import rules_to_json
from chaos.model import Impairment

pytestmark = [pytest.mark.real, pytest.mark.alone]

HERE = Path(__file__).parent
SLOW = Rule(direction="in", impairment=Impairment(delay_s=0.2))
ALL = Rule(direction="in", impairment=Impairment(loss=0.9))


@pytest.fixture
def lab():
    made = ShaperLab(3)
    yield made
    made.close()


def needs(name):
    if why := probe()[name]:
        pytest.skip(f"{name}: {why}")


def cut(lab, direction, node):
    return Rule(direction=direction, peers=(lab.address(node),), cut=True)


def healthy(lab):
    """The kernel's own path: nothing lost, nothing late."""
    flow = lab.flow("n2", "n1", count=10, wait_s=0.2)
    return flow.lost_share == 0 and flow.median_ms < 100 and lab.flow("n1", "n3", count=3, wait_s=0.1).lost_share == 0


@contextlib.contextmanager
def agent(lab, backend, rules):
    """A process of its own that holds the shaper; yields it and the shaper's pids."""
    ports = [asdict(port) for port in lab.ports]
    asked = {"backend": backend, "ports": ports, "rules": {n: rules_to_json(r) for n, r in rules.items()}}
    process = subprocess.Popen(
        [sys.executable, HERE / "shaper_agent.py", json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=[lab.hub, *lab.nodes],
    )
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_closing_restores_everything_while_packets_are_held(lab, backend):
    before = lab.snapshot()
    shaper = open_shaper(lab.ports, backend)
    shaper.set("n1", [SLOW, cut(lab, "out", "n3")])
    lab.flow("n2", "n1", count=10, wait_s=0)
    pids = shaper.state()["pids"].values()
    shaper.close()
    shaper.close()
    assert lab.snapshot() == before
    assert healthy(lab)
    assert not any(process_exists(pid) for pid in pids)


def test_a_closed_shaper_refuses_rules(lab, backend):
    shaper = open_shaper(lab.ports, backend)
    shaper.close()
    with pytest.raises(ShaperError):
        shaper.set("n1", [SLOW])


@pytest.mark.parametrize("name", ["tap", "nfqueue"])
def test_what_a_daemon_holds_is_released_when_it_is_told_to_stop(lab, name):
    needs(name)
    shaper = open_shaper(lab.ports, name)
    shaper.set("n1", [Rule(direction="in", impairment=Impairment(delay_s=30))])
    with lab.socket("n2") as sender, lab.socket("n1") as receiver:
        receiver.bind((lab.address("n1"), 0))
        receiver.settimeout(10)
        sender.sendto(b"held", receiver.getsockname())
        assert wait_until(lambda: shaper.state()["nodes"]["n1"]["held"] == 1)
        shaper.close()
        assert receiver.recv(100) == b"held"


def test_the_death_of_the_agent_leaves_nothing_behind(lab, backend):
    before = lab.snapshot()
    rules = {"n1": [cut(lab, "out", "n3"), SLOW], "n2": [cut(lab, "in", "n3"), ALL]}
    with agent(lab, backend, rules) as (process, pids):
        assert lab.flow("n3", "n2", count=5, wait_s=0.1).lost_share == 1
        assert lab.flow("n1", "n3", count=5, wait_s=0.1).lost_share == 1
        process.kill()
        process.wait()
        assert wait_until(lambda: not any(process_exists(pid) for pid in pids.values()))
        assert lab.snapshot() == before
        assert healthy(lab)


def test_the_agent_may_die_while_the_daemon_hangs(lab):
    needs("tap")
    before = lab.snapshot()
    with agent(lab, "tap", {"n1": [ALL]}) as (process, pids):
        os.kill(pids["daemon"], signal.SIGSTOP)
        process.kill()
        process.wait()
        assert wait_until(lambda: not any(process_exists(pid) for pid in pids.values()))
        assert lab.snapshot() == before
        assert healthy(lab)


@pytest.mark.parametrize("name", ["tap", "nfqueue"])
def test_killing_the_daemon_is_a_heal_that_a_live_connection_survives(lab, name):
    needs(name)
    with (
        contextlib.closing(open_shaper(lab.ports, name)) as shaper,
        contextlib.closing(lab.connection("n2", "n1")) as live,
    ):
        shaper.set("n1", [SLOW])
        assert live.request(1000)
        pids = shaper.state()["pids"]
        os.kill(pids["daemon"], signal.SIGKILL)
        assert wait_until(lambda: not process_exists(pids["daemon"]))
        assert healthy(lab)
        assert live.request(100_000)
        state = shaper.state()
        assert not state["alive"]
        assert "gone" in state["why"] or "answer" in state["why"]
        with pytest.raises(ShaperError, match="daemon"):
            shaper.set("n1", [SLOW])
        assert wait_until(lambda: not process_exists(pids["watchdog"]))


@pytest.mark.parametrize("name", ["tap", "nfqueue"])
def test_a_hung_daemon_is_killed_by_its_watchdog(lab, name):
    needs(name)
    with (
        contextlib.closing(open_shaper(lab.ports, name)) as shaper,
        contextlib.closing(lab.connection("n2", "n1")) as live,
    ):
        shaper.set("n1", [SLOW])
        daemon = shaper.state()["pids"]["daemon"]
        begin = time.monotonic()
        os.kill(daemon, signal.SIGSTOP)
        assert wait_until(lambda: not process_exists(daemon))
        assert time.monotonic() - begin < 8
        assert healthy(lab)
        assert live.request(1000)


@pytest.mark.parametrize("name", ["tap", "nfqueue"])
def test_an_idle_daemon_is_not_killed(lab, name):
    needs(name)
    with contextlib.closing(open_shaper(lab.ports, name)) as shaper:
        shaper.set("n1", [SLOW])
        assert not wait_until(lambda: not shaper.state()["alive"], 1.0)
        assert lab.flow("n2", "n1", count=5).median_ms > 190


def test_a_foreign_root_qdisc_is_refused_and_left_alone(lab):
    lab.run(
        lab.hub, ["tc", "qdisc", "add", "dev", "p2", "root", "tbf", "rate", "1gbit", "burst", "1m", "latency", "9ms"]
    )
    before = lab.snapshot()
    with pytest.raises(ShaperError, match=r"p2 has a tbf qdisc .* of somebody else; remove it first"):
        NetemShaper(lab.ports)
    assert lab.snapshot() == before


def test_a_foreign_ingress_qdisc_is_refused_and_left_alone(lab):
    lab.run(lab.hub, ["tc", "qdisc", "add", "dev", "p1", "clsact"])
    before = lab.snapshot()
    with pytest.raises(ShaperError, match="p1 has a clsact qdisc"):
        NetemShaper(lab.ports)
    assert lab.snapshot() == before


def test_a_missing_port_is_named_at_opening(lab):
    needs("tap")
    lab.run(lab.hub, ["ip", "link", "del", "p3"])
    before = lab.snapshot()
    with pytest.raises(ShaperError, match="tap: "):
        open_shaper(lab.ports, "tap")
    assert lab.snapshot() == before


def test_an_undo_that_does_not_come_to_an_end_is_not_passed_over_in_silence(lab, monkeypatch):
    monkeypatch.setattr(keeper, "UNDO_TIMEOUT_S", 0.5)
    kept = keeper.Keeper([lab.hub])
    kept.keep(lab.hub, ["sleep", "3"])
    with pytest.raises(ShaperError, match="1 undos not done within"):
        kept.close()


def test_an_undo_that_fails_does_not_stop_the_others(lab):
    kept = keeper.Keeper([lab.hub])
    kept.keep(lab.hub, ["ip", "link", "add", "witness", "type", "bridge"])
    kept.keep(lab.hub, ["no-such-program"])
    kept.keep(lab.hub, ["false"])
    kept.close()
    assert "witness" in lab.run(lab.hub, ["ip", "link"])


def test_ports_of_two_hubs_are_refused(lab):
    needs("tap")
    other = ShaperLab(1)
    with pytest.raises(ShaperError, match="n1 hang on another hub than n2"):
        open_shaper([lab.ports[1], other.ports[0]], "tap")
    other.close()


def test_other_tables_and_chains_survive_ours(lab):
    needs("nfqueue")
    node = lab.namespace("n1")
    lab.run(node, ["iptables", "-t", "mangle", "-A", "PREROUTING", "-p", "udp", "--dport", "9", "-j", "ACCEPT"])
    lab.run(node, ["nft", "add table inet somebody"])
    before = lab.run(node, ["nft", "list", "ruleset"])
    with contextlib.closing(open_shaper(lab.ports, "nfqueue")) as shaper:
        shaper.set("n1", [SLOW])
        shaper.set("n1", [cut(lab, "in", "n2")])
        assert lab.run(node, ["nft", "list", "ruleset"]) != before
    assert lab.run(node, ["nft", "list", "ruleset"]) == before


def test_the_probe_says_why_a_backend_does_not_work():
    found = probe()
    assert set(found) == {"netem", "tap", "nfqueue"}
    assert probe() is found
    for name, why in found.items():
        assert why == "" or len(why) > 10, name


def test_without_privilege_every_backend_is_refused_with_the_reason():
    script = "import json; from chaos.agent.shaper import probe; print(json.dumps(dict(probe())))"
    said = as_nobody(["/usr/bin/python3", "-c", script])
    assert all("namespace" in why for why in json.loads(said).values())


def test_nfqueue_works_for_an_ordinary_user_in_a_user_namespace():
    said = json.loads(as_nobody(["unshare", "-Urn", "/usr/bin/python3", str(HERE / "ordinary_user.py")]))
    assert said["uid"] != 0
    assert said["delay_ms"] == pytest.approx(90, abs=41)  # 50 ms, and what a loaded machine adds
    assert said["lost_by_cut"] == 1
    assert said["lost_after"] == 0
    assert said["after_ms"] < 45


def as_nobody(argv):
    """Run a command as uid 65534, of whom this machine knows nothing but that it exists; needs root to become it."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    readable = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "test", "-r", str(HERE)], check=False
    )
    if readable.returncode:
        pytest.skip(f"{HERE} is not readable by other users")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{HERE}", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
