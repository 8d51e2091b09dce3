"""Every action on a real lab: applied, confirmed, healed, proved. And every way in which it must say no."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import rdpcap

from chaos.agent import journal
from chaos.errors import AgentError, CapabilityError
from chaos.model import (
    Aimed,
    Cut,
    Direction,
    Freeze,
    Impairment,
    Power,
    Process,
    Proof,
    Shape,
    Signal,
    StackAction,
)
from chaos.ports import Backends, Reaches, RunsProcesses
from chaos.targets.agents.target import differences, not_looked_at
from chaos.targets.netns.lab import Lab, NodeSpec
from chaos.targets.netns.sweep import sweep
from chaos.targets.netns.target import NetnsTarget, heal_leftovers, open_netns
from tests.leftovers import await_true
from tests.targets.told import PATIENCE_S, evidence_of

pytestmark = [
    pytest.mark.alone,
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, of a user namespace at least"),
]

NODES = [NodeSpec(name=name, role="member") for name in ("n1", "n2", "n3")]
SERVER = "import http.server as h; h.HTTPServer(('0.0.0.0', 2379), h.SimpleHTTPRequestHandler).serve_forever()"
DELAY = Shape(impairment=Impairment(delay_s=0.05))


def server(folder: Path, node: str) -> Process:
    return Process(name="server", argv=(sys.executable, "-c", SERVER), log=str(folder / f"{node}.log"))


def serves(target, node: str) -> bool:
    answer = target.client.ask("ports", 10, source="n3" if node != "n3" else "n2", sink=node, ports=[2379])
    return answer["ports"][0]["outcome"] == "answered"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    with open_netns(NODES, base=folder / "labs", evidence=folder / "evidence") as target:
        for node in ("n1", "n2"):
            target.start(node, server(folder, node))
            await_true(f"{node} serves", lambda node=node: serves(target, node), within_s=PATIENCE_S)
        yield target


@pytest.fixture(autouse=True)
def nothing_stays_in_force(request):
    """A test that fails in mid-fault must not fail the next ones."""
    yield
    if "shared" in request.fixturenames:
        target = request.getfixturevalue("shared")
        for injection in list(target._in_force):
            injection.heal().exception(PATIENCE_S)


@contextmanager
def own(tmp_path, *, lease_s: float = 10.0, shaper: str | None = None):
    """A target whose agent may be hurt."""
    with Lab.open(NODES, base=tmp_path / "labs") as lab:
        target = NetnsTarget(lab, tmp_path / "evidence", lease_s=lease_s, shaper=shaper)
        try:
            yield target
        finally:
            target.close()


ACTIONS = {
    "delay": DELAY,
    "loss": Shape(impairment=Impairment(loss=0.3), direction=Direction.BOTH, peers=("n2",)),
    "duplicate": Shape(impairment=Impairment(duplicate=0.3)),
    "corrupt": Shape(impairment=Impairment(corrupt=0.3)),
    "reorder": Shape(impairment=Impairment(delay_s=0.02, reorder=0.3)),
    "rate": Shape(impairment=Impairment(rate_bit_s=5e6)),
    "delay out": Shape(impairment=Impairment(delay_s=0.03), direction=Direction.OUT),
    "cut": Cut(peers=("n2",)),
    "kill": Signal(),
    "stop": Signal(signal="STOP"),
    "freeze": Freeze(),
    "power": Power(),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_confirmed_and_its_heal_is_proved(shared, name):
    await_true("n1 serves", lambda: serves(shared, "n1"), within_s=PATIENCE_S)
    injection = shared.inject([Aimed(subject="n1", action=ACTIONS[name])], deadline_s=60)
    try:
        confirmed = evidence_of(injection, "confirm")
        watched = evidence_of(injection, "watch")
    finally:
        healed = injection.heal().result(PATIENCE_S)
    assert confirmed.proof is Proof.CONFIRMED, confirmed
    assert {one.path for one in confirmed.measurements} == {"hurt", "spared"}
    assert watched.proof is Proof.CONFIRMED, watched
    assert healed.proof is Proof.CONFIRMED, healed
    assert confirmed.effective_ns < healed.effective_ns
    assert any("restored = before" in one.name for one in healed.measurements)


def test_a_step_on_two_nodes_is_healed_once_and_told_for_each(shared):
    aimed = [Aimed(subject=node, action=DELAY) for node in ("n1", "n2")]
    injection = shared.inject(aimed, deadline_s=60)
    evidence_of(injection, "confirm", Proof.CONFIRMED)
    assert injection.heal() is injection.heal()
    assert injection.heal().result(PATIENCE_S).subject == "n1, n2"
    assert {evidence_of(injection, "heal").subject, evidence_of(injection, "heal").subject} == {"n1", "n2"}


def test_half_the_delay_asked_for_is_a_mismatch(shared, monkeypatch):
    alter(shared, monkeypatch, lambda action: replace(action, impairment=Impairment(delay_s=0.025)))
    assert_mismatch(shared, DELAY, "delay")


def test_double_the_delay_asked_for_is_a_mismatch(shared, monkeypatch):
    alter(shared, monkeypatch, lambda action: replace(action, impairment=Impairment(delay_s=0.1)))
    assert_mismatch(shared, DELAY, "delay")


def test_loss_on_the_wrong_side_is_a_mismatch_on_both_paths(shared, monkeypatch):
    alter(shared, monkeypatch, lambda action: replace(action, direction=Direction.OUT))
    action = Shape(impairment=Impairment(loss=0.3), direction=Direction.IN, peers=("n2",))
    found = assert_mismatch(shared, action, "loss")
    assert {one.path for one in found.measurements if one.proof is Proof.MISMATCH} == {"hurt", "spared"}


def test_a_cut_that_hits_another_peer_is_a_mismatch(shared, monkeypatch):
    alter(shared, monkeypatch, lambda action: replace(action, peers=("n3",)))
    assert_mismatch(shared, Cut(peers=("n2",)), "cut")


def alter(target, monkeypatch, change):
    """Let the agent do something else than what is measured."""
    send = target.send_inject
    altered = lambda *, name, aimed, deadline_s: send(  # noqa: E731 - two lines more would say no more
        name=name, aimed=replace(aimed, action=change(aimed.action)), deadline_s=deadline_s
    )
    monkeypatch.setattr(target, "send_inject", altered)


def assert_mismatch(target, action, name):
    injection = target.inject([Aimed(subject="n1", action=action)], deadline_s=60)
    try:
        confirmed = evidence_of(injection, "confirm")
    finally:
        healed = injection.heal().result(PATIENCE_S)
    assert confirmed.proof is Proof.MISMATCH
    assert any(one.name.startswith(name) and one.proof is Proof.MISMATCH for one in confirmed.measurements)
    assert name in confirmed.detail
    assert healed.proof is Proof.CONFIRMED
    return confirmed


def test_a_killed_process_that_is_started_behind_our_back_is_a_mismatch(shared):
    await_true("n1 serves", lambda: serves(shared, "n1"), within_s=PATIENCE_S)
    injection = shared.inject([Aimed(subject="n1", action=Signal())], deadline_s=60)
    evidence_of(injection, "confirm", Proof.CONFIRMED)
    shared.lab.node_call("n1", {"op": "revive", "name": ""})
    assert "it runs" in evidence_of(injection, "watch", Proof.MISMATCH).detail
    assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_a_shape_that_nobody_could_see_is_refused_and_nothing_is_in_force(shared):
    first = shared.inject([Aimed(subject="n1", action=DELAY)], deadline_s=60)
    aimed = [Aimed(subject="n2", action=DELAY), Aimed(subject="n1", action=DELAY)]
    with pytest.raises(AgentError, match="already shapes these packets"):
        shared.inject(aimed, deadline_s=60)
    assert list(shared.client.ask("state", 10)["in_force"].values()) == ["shape"]
    assert first.heal().result(PATIENCE_S).proof is Proof.CONFIRMED
    assert shared.client.ask("state", 10)["in_force"] == {}


def test_a_kill_where_nothing_runs_is_refused(shared):
    with pytest.raises(AgentError, match="nothing to hit"):
        shared.inject([Aimed(subject="n3", action=Signal())], deadline_s=60)


def test_a_deadline_undoes_the_fault_and_the_watch_says_so(shared):
    injection = shared.inject([Aimed(subject="n1", action=DELAY)], deadline_s=2.0)
    evidence_of(injection, "confirm", Proof.CONFIRMED)
    assert "deadline" in evidence_of(injection, "watch", Proof.MISMATCH).detail
    assert shared.client.ask("state", 10)["in_force"] == {}
    assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_the_target_has_the_powers_of_a_lab_and_names_its_mechanisms(shared):
    assert isinstance(shared, RunsProcesses)
    assert isinstance(shared, Reaches)
    assert isinstance(shared, Backends)
    assert shared.backend(Signal(signal="STOP")) == "SIGSTOP"
    assert shared.backend(DELAY) == shared.describe()["shaper"]["backend"]
    with pytest.raises(CapabilityError, match="stack's own"):
        shared.backend(StackAction(operation="restart"))


def test_a_shape_without_a_shaper_is_a_missing_capability_that_says_why(shared, monkeypatch):
    without = {"backend": "", "why": {"tap": "no /dev/net/tun"}, "realtime": False}
    monkeypatch.setitem(shared._greeting, "shaper", without)
    with pytest.raises(CapabilityError, match="no /dev/net/tun"):
        shared.backend(DELAY)


def test_states_that_differ_are_named_line_by_line():
    before = {"": {"links": [{"ifname": "a"}], "rules": "x\ny"}}
    assert differences(before, before) == []
    after = {"": {"links": [], "rules": "x\nz"}}
    assert differences(before, after) == [
        "hub links: gone [\"{'ifname': 'a'}\"], new []",
        "hub rules: gone ['y'], new ['z']",
    ]


def test_a_kind_that_was_not_looked_at_is_no_equal_one():
    seen, unseen = {"": {"links": [], "rules": []}}, {"": {"links": [], "rules": None}}
    assert not_looked_at(seen, seen) == []
    assert not_looked_at(seen, unseen) == not_looked_at(unseen, seen) == ["rules"]


def test_the_capture_of_a_cut_holds_packets_that_were_sent_and_never_arrived(shared):
    injection = shared.inject([Aimed(subject="n1", action=Cut(peers=("n2",)))], deadline_s=60)
    (name,) = evidence_of(injection, "confirm", Proof.CONFIRMED).files
    injection.heal().result(PATIENCE_S)
    packets = rdpcap(str(shared._evidence / name))
    seen = {where: {bytes(p[UDP].payload) for p in packets if p.sniffed_on == where} for where in ("sent", "arrived")}
    assert seen["arrived"] < seen["sent"]
    lost = [p for p in packets if bytes(p[UDP].payload) in seen["sent"] - seen["arrived"]]
    address = shared.topology().node("n1").address
    assert {address in (p[IP].src, p[IP].dst) for p in lost} == {True}
    kept = {path.name for path in shared._evidence.iterdir()}
    assert {"kernel-before.json", f"{injection.name}-healed-kernel.json"} <= kept


def test_a_heal_is_not_proved_where_the_kernels_rules_can_not_be_read(tmp_path, monkeypatch):
    with own(tmp_path) as target:
        blind = {**target._before, "": {**target._before[""], "rules": None}}
        injection = target.inject([Aimed(subject="n1", action=Cut(peers=("n2",)))], deadline_s=60)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        monkeypatch.setattr(target, "_kernel", lambda: blind)
        assert injection.heal().result(PATIENCE_S).proof is Proof.INCONCLUSIVE
        healed = evidence_of(injection, "heal", Proof.INCONCLUSIVE)
        assert "not looked at: rules" in healed.detail


def test_a_disk_that_takes_no_more_evidence_hinders_no_lab_and_no_heal(tmp_path):
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    for name in ("kernel-before.json", "i1-healed-kernel.json"):
        (evidence / name).symlink_to("/dev/full")
    with own(tmp_path) as target:
        injection = target.inject([Aimed(subject="n1", action=Cut(peers=("n2",)))], deadline_s=60)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


# ---------------------------------------------------------------- the agent and its parts die


def test_a_shaper_that_dies_in_mid_fault_is_said_by_the_watch(tmp_path):
    with own(tmp_path) as target:
        injection = target.inject([Aimed(subject="n1", action=DELAY)], deadline_s=60)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        daemon = str(target.client.ask("state", 10)["shaper"]["pids"]["daemon"])
        target.spawn("", ["kill", "-9", daemon]).wait(10)
        assert "shaper" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED
        again = target.inject([Aimed(subject="n1", action=DELAY)], deadline_s=60)
        assert evidence_of(again, "confirm").proof is Proof.CONFIRMED
        assert again.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


@pytest.mark.parametrize("action", [DELAY, Cut(peers=("n2",)), Signal(), Freeze(), Power()], ids=lambda one: one.kind)
def test_what_a_killed_agent_held_is_told_and_healed_from_its_journal(tmp_path, action):
    with own(tmp_path) as target:
        target.start("n1", server(tmp_path, "n1"))
        await_true("n1 serves", lambda: serves(target, "n1"), within_s=PATIENCE_S)
        injection = target.inject([Aimed(subject="n1", action=action)], deadline_s=60)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        os.kill(target.client._questions._channel.pid, signal.SIGKILL)
        assert "agent" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        assert len(journal.read(target.lab.folder / "journal")) == 1
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED
        assert journal.read(target.lab.folder / "journal") == []


def test_a_missed_heartbeat_undoes_the_fault(tmp_path, monkeypatch):
    with own(tmp_path, lease_s=3.0) as target:
        injection = target.inject([Aimed(subject="n1", action=DELAY)], deadline_s=60)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        send = target.client.send
        swallowed = Future()
        swallowed.set_result({})
        monkeypatch.setattr(target.client, "send", lambda op, **more: swallowed if op == "beat" else send(op, **more))
        assert "heartbeat" in evidence_of(injection, "watch", Proof.MISMATCH).detail
        monkeypatch.undo()
        assert injection.heal().result(PATIENCE_S).proof is Proof.CONFIRMED


def test_nothing_is_touched_when_the_undo_cannot_be_written(tmp_path):
    with own(tmp_path) as target:
        before = target.start("n1", server(tmp_path, "n1"))
        folder = target.lab.folder / "journal"
        aside = folder.rename(folder.with_name("aside"))
        with pytest.raises(AgentError, match="nothing was touched"):
            target.inject([Aimed(subject="n1", action=Signal())], deadline_s=60)
        assert [(one.pid, one.exit_code) for one in target.processes()] == [(before.pid, None)]
        aside.rename(folder)


def test_a_journal_of_a_lab_that_is_gone_is_swept_by_heal(tmp_path):
    folder = tmp_path / "dead" / "journal"
    held = journal.Journal(folder)
    held.write(journal.Record(name="i1.0", kind="freeze", undo={"subject": "n1", "freezer": ""}))
    assert heal_leftovers(tmp_path) == []
    held.close()
    assert heal_leftovers(tmp_path) == [f"{folder}: i1.0"]
    assert heal_leftovers(tmp_path) == []


CONTROLLER = """
    import sys, time
    from pathlib import Path
    from chaos.model import *
    from chaos.targets.netns.lab import NodeSpec
    from chaos.targets.netns.target import open_netns
    folder = Path(sys.argv[1])
    nodes = [NodeSpec(name=name) for name in ("n1", "n2", "n3")]
    actions = {
        "delay": Shape(impairment=Impairment(delay_s=0.05)), "cut": Cut(peers=("n2",)), "kill": Signal(),
        "freeze": Freeze(),
    }
    with open_netns(nodes, base=folder / "labs", evidence=folder / "evidence") as target:
        target.start("n1", Process(name="sleeper", argv=("sleep", "1000"), log=str(folder / "log")))
        print(target.lab.init_pid, target.describe()["shaper"]["backend"], flush=True)
        for name in sys.argv[2:]:
            injection = target.inject([Aimed(subject="n1", action=actions[name])], deadline_s=60)
            while (evidence := injection.events.get(timeout=40)).phase != "confirm":
                pass
            print(name, evidence.proof, evidence.detail, flush=True)
            if name == "kill" and sys.argv[-1] == name and len(sys.argv) == 3:
                time.sleep(1000)
            print(name, injection.heal().result(40).proof, flush=True)
"""


def controller(tmp_path, *arguments: str, before=(), env=None) -> subprocess.Popen[str]:
    script = tmp_path / "controller.py"
    script.write_text(textwrap.dedent(CONTROLLER))
    environment = {**os.environ, **(env or {}), "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [*before, sys.executable, str(script), str(tmp_path), *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)


def assert_swept(labs: Path) -> None:
    """What a killed controller leaves, a folder and cgroups, is removed by a sweep."""
    names = {folder.name for folder in labs.iterdir()}
    sweep(labs)
    assert list(labs.iterdir()) == []
    left = [path for path in Path("/sys/fs/cgroup").glob("**/chaosgate-*") if path.name[10:] in names]
    assert left == []


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_killed_controller_takes_the_lab_and_all_faults_with_it(tmp_path):
    process = controller(tmp_path, "kill")
    try:
        init_pid = int(process.stdout.readline().split()[0])
        assert "confirmed" in process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    await_true("the lab ends", lambda: is_gone(init_pid), within_s=PATIENCE_S)
    assert len(heal_leftovers(tmp_path / "labs")) == 1
    assert_swept(tmp_path / "labs")


@pytest.mark.parametrize("who", ["agent", "controller"])
def test_a_stop_at_any_point_of_an_injection_leaves_nothing_behind(tmp_path, who):
    """Points of the agent: journalled but not applied; the controller, or the agent, dies there."""
    env = {"CHAOSGATE_STOP_AT": "freeze.apply", "CHAOSGATE_STOP_WHO": who}
    process = controller(tmp_path, "freeze", env=env)
    try:
        init_pid = int(process.stdout.readline().split()[0])
        process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0
    await_true("the lab ends", lambda: is_gone(init_pid), within_s=PATIENCE_S)
    heal_leftovers(tmp_path / "labs")
    assert list((tmp_path / "labs").glob("*/journal/*.json")) == []
    assert_swept(tmp_path / "labs")


@pytest.mark.slow
def test_an_unprivileged_user_can_delay_cut_kill_and_freeze(tmp_path):
    way = ("unshare", "--user", "--map-root-user")
    process = controller(tmp_path, "delay", "cut", "kill", "freeze", before=way)
    try:
        output, _ = process.communicate(timeout=150)
    finally:
        process.kill()
        process.wait()
    backend, *lines = output.splitlines()
    assert backend.endswith("nfqueue")
    assert [line.split()[:2] for line in lines] == [
        [name, "confirmed"] for name in ("delay", "cut", "kill", "freeze") for _ in ("confirm", "heal")
    ], output
