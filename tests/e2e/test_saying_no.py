"""Each run here is broken on purpose; a gate that still says yes would be worth nothing."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chaos.model import Decision, Status
from chaos.options import Options
from chaos.session import interrupt, judge_folder, run_set
from chaos.spec import load_text
from chaos.stacks.etcd.stack import EtcdStack
from chaos.stacks.etcd.versions import provide
from chaos.stage import Flags
from chaos.targets.netns.lab import Lab
from chaos.targets.netns.target import NetnsTarget
from gates.judge import judge_set
from tests.e2e import short

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(180)]

SLOW_FOLLOWER = (
    "steps:\n  - {name: slow, at: 2s, for: 5s, on: {role: follower, count: 1}, fault: {latency: {delay: 100ms}}}"
)


def verdict(result, gate):
    """Return the verdict of a gate, with everything said on failure."""
    assert result.judgement is not None
    return next(v for v in result.judgement.verdicts if v.gate == gate)


def assert_no_yes(result, pattern, *more):
    """The run can't tell, and each pattern is found in one of its problems: they are those made here."""
    validity = verdict(result, "validity")
    assert validity.status is Status.INCONCLUSIVE, validity.summary
    assert result.judgement.exit_code in (11, 12), result.judgement.sentence
    problems = validity.numbers["problems"]
    for one in (pattern, *more):
        assert [problem for problem in problems if re.search(one, problem)], f"{one}: {problems}"


# ---------------------------------------------------------------- the product is broken


def test_reads_from_an_isolated_member_that_pass_for_linearizable_are_found(tmp_path):
    steps = (
        "steps:\n  - {name: cut, at: 2s, for: 4s, on: {role: follower, count: 1}, fault: {partition: {from: others}}}"
    )
    yaml = short.text(steps=steps, kv=", sabotage: stale-reads", gates="  - linearizable")
    found = verdict(short.run(tmp_path, yaml), "linearizable")
    assert found.status is Status.FAIL, found.summary


def test_success_reported_before_the_write_is_found(tmp_path):
    yaml = short.text(kv=", sabotage: ack-before-write", gates="  - acknowledged-writes")
    result = short.run(tmp_path, yaml)
    found = verdict(result, "acknowledged-writes")
    assert found.status is Status.FAIL, found.summary
    assert result.exit_code == 10


def test_members_that_never_serve_again_fail_recovery(tmp_path, wrapped):
    deaf = "--listen-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380"
    once = f'if [ -e started ]; then set -- "$@" {deaf}; fi; touch started; exec {{real}} "$@"'
    steps = "steps:\n  - {name: kill, at: 6s, for: 1s, on: {role: member, count: 2}, fault: kill}"
    gates = "  - recovery: {limit: 3s, bucket: 500ms}"
    yaml = short.text(steps=steps, gates=gates, duration="15s")
    found = verdict(short.run(tmp_path, yaml, versions={"etcd": str(wrapped(once))}), "recovery")
    assert found.status is Status.FAIL, found.summary


def test_a_member_that_exits_by_itself_is_found(tmp_path, wrapped):
    dies = 'if [ "$1" = --name=etcd2 ]; then {real} "$@" & sleep 6; kill -9 $!; exit 3; fi; exec {real} "$@"'
    yaml = short.text(steps="", gates="  - no-unexpected-exit", duration="9s")
    result = short.run(tmp_path, yaml, versions={"etcd": str(wrapped(dies))})
    found = verdict(result, "no-unexpected-exit")
    assert found.status is Status.FAIL, found.summary
    assert "etcd2" in found.summary
    assert result.exit_code == 10


# ---------------------------------------------------------------- the injector is broken


def altered(monkeypatch, change):
    """Let the agent do something else than what the engine asked for."""
    send = NetnsTarget.send_inject

    def send_altered(self, *, name, aimed, deadline_s):
        return send(self, name=name, aimed=replace(aimed, **change(aimed)), deadline_s=deadline_s)

    monkeypatch.setattr(NetnsTarget, "send_inject", send_altered)


def test_half_the_latency_that_was_asked_for_is_found(tmp_path, monkeypatch):
    def halved(aimed):
        impairment = replace(aimed.action.impairment, delay_s=aimed.action.impairment.delay_s / 2)
        return {"action": replace(aimed.action, impairment=impairment)}

    altered(monkeypatch, halved)
    found = r"^slow on etcd\d: is not what was asked for: .*asked 100 ms, got [45]\d"
    assert_no_yes(short.run(tmp_path, short.text(steps=SLOW_FOLLOWER)), found)


def test_a_shaper_on_another_link_of_the_right_node_is_found(tmp_path, monkeypatch):
    """Every node gets a second link, on which nobody talks; the shaper is bound to that."""

    def second_link(self, node):
        hub, inside = self.hub_netns, self.node_netns(node)
        name = f"second-{self._plot(node).port}"[:15]
        link = ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth1", "netns", f"/proc/self/fd/{inside}"]
        subprocess.run(["nsenter", f"--net=/proc/self/fd/{hub}", *link], check=True, pass_fds=(hub, inside))
        return name

    monkeypatch.setattr(Lab, "port", second_link)
    found = r"^slow on etcd\d: is not what was asked for"
    assert_no_yes(short.run(tmp_path, short.text(steps=SLOW_FOLLOWER)), found)


def test_a_shaper_on_the_wrong_node_is_found(tmp_path, monkeypatch):
    altered(monkeypatch, lambda aimed: {"subject": "client1"})
    found = r"^slow on \S+: is not what was asked for"
    assert_no_yes(short.run(tmp_path, short.text(steps=SLOW_FOLLOWER)), found)


def test_loss_on_the_wrong_side_is_found(tmp_path, monkeypatch):
    altered(monkeypatch, lambda aimed: {"action": replace(aimed.action, direction="out")})
    steps = "steps:\n  - {name: lossy, at: 2s, for: 6s, on: {role: follower, count: 1}, fault: {loss: {share: 20%}}}"
    found = r"^lossy on etcd\d: is not what was asked for"
    assert_no_yes(short.run(tmp_path, short.text(steps=steps, duration="9s")), found)


def test_a_leader_fault_that_met_a_follower_is_found(tmp_path, monkeypatch):
    find = EtcdStack.find
    monkeypatch.setattr(
        EtcdStack, "find", lambda self, role, *rest: find(self, "follower" if role == "leader" else role, *rest)[:1]
    )
    steps = "steps:\n  - {name: slow-leader, at: 2s, for: 5s, on: leader, fault: {latency: {delay: 50ms}}}"
    found = r"^slow-leader was aimed at the leader and met etcd\d, which was not$"
    assert_no_yes(short.run(tmp_path, short.text(steps=steps)), found)


# ---------------------------------------------------------------- the evidence is missing


def test_a_throttled_generator_can_not_tell(tmp_path):
    result = short.run(tmp_path, short.text(kv=", sabotage: throttle"))
    assert_no_yes(result, r"^the load did not reach its floor: \d+/s offered in steady, 200/s asked")


def test_another_version_than_the_one_asked_for_can_not_tell(tmp_path, monkeypatch):
    asked, other = provide("3.5.35", lambda _: None), provide("3.5.1", lambda _: None)
    versions = EtcdStack.versions

    def binary(self, version):
        from chaos.stacks.etcd.stack import Binary

        return Binary(asked=version, path=other, version=version)

    assert asked != other
    assert versions is EtcdStack.versions
    monkeypatch.setattr(EtcdStack, "_binary", binary)
    result = short.run(tmp_path, short.text(), versions={"etcd": "3.5.35"})
    assert_no_yes(result, r"^etcd\d runs version 3\.5\.1, asked for was 3\.5\.35$")


class Disk:
    """A folder on a disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("size=400m")

    def _mount(self, option: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", option, "chaosgate-test", str(self.folder)], check=True)

    def resize(self, size: str) -> None:
        self._mount(f"remount,size={size}")

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "small")
    yield made
    made.unmount()


def filled(monkeypatch, disk, size):
    """Let others fill the disk, but for `size`, once the run has been allowed to begin."""
    allow = short.refuse_what_cannot_run
    monkeypatch.setattr(short, "refuse_what_cannot_run", lambda *of_what: (allow(*of_what), disk.resize(size)))


def test_a_disk_with_too_little_room_can_not_tell(monkeypatch, disk):
    filled(monkeypatch, disk, "200m")
    result = short.run(disk.folder, short.text())
    assert_no_yes(result, "bytes are free", "268,435,456 must stay so")


def test_a_full_disk_can_not_tell_and_everything_is_healed(monkeypatch, disk):
    """Less than the run needs is left, and nobody looks how much: not even the verdict has room."""
    yaml = short.text(steps=f"{short.KILL}\nabort-when: {{free-disk: 1B}}", rate="400/s", duration="20s")
    filled(monkeypatch, disk, "500k")
    result = short.run(disk.folder, yaml)
    assert_no_yes(result, "No space left on device")
    assert result.exit_code in (11, 12)
    events = (result.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert "inject" in [json.loads(line)["kind"] for line in events]  # there was something to heal
    disk.resize("400m")
    assert_no_yes(replace(result, judgement=judge_folder(result.folder)), "No space left on device")


def test_a_gate_that_raises_can_not_tell(tmp_path, monkeypatch):
    from gates.linearizable import Linearizable

    def raises(self, recording):
        raise ZeroDivisionError("a bug in a gate")

    monkeypatch.setattr(Linearizable, "judge", raises)
    found = verdict(short.run(tmp_path, short.text(gates="  - linearizable", steps="", duration="3s")), "linearizable")
    assert found.status is Status.INCONCLUSIVE
    assert "ZeroDivisionError" in found.summary


def test_a_window_in_which_nothing_was_asked_can_not_tell(tmp_path):
    """One operation in five seconds: at t = 4.25 s and t = 9.25 s; the fault lies between them."""
    steps = "steps:\n  - {name: kill, at: 5500ms, for: 1s, on: leader, fault: kill}"
    gates = "  - errors: {limit: 1%}\n  - latency: {limit: 400ms}"
    result = short.run(tmp_path, short.text(steps=steps, gates=gates, rate="0.2/s", duration="11s"))
    assert_no_yes(result, "no operation was recorded during fault, which a gate looks at")
    assert "no operation was offered during fault" in verdict(result, "errors").summary
    assert "0 operations during fault" in verdict(result, "latency").summary
    assert [verdict(result, gate).status for gate in ("errors", "latency")] == [Status.INCONCLUSIVE] * 2


def test_a_set_of_which_one_was_not_run_is_not_promoted(tmp_path):
    """The first is sound; whoever started them changes their mind before the second."""
    flags, options = Flags(), Options(runs=tmp_path)
    gates = "  - errors: {limit: 50%, during: run}"
    texts = [short.text(name=name, steps="", gates=gates, duration="3s", rate="40/s") for name in ("first", "second")]
    experiments = [load_text(text, "short.yaml") for text in texts]
    results = run_set(
        experiments, options, flags=flags, watch=lambda _: None, done=lambda _: interrupt(flags, "a change of mind")
    )
    (first,) = [result.judgement for result in results]
    assert first.decision is Decision.PROMOTE, first.sentence
    judged = judge_set([first], [experiment.name for experiment in experiments])
    assert (judged.missing, judged.decision) == (("second",), Decision.CANNOT_TELL)
    assert judged.exit_code in (11, 12)
    assert "second" in judged.sentence
