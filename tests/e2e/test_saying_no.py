"""Each run here is broken on purpose; a gate that still says yes would be worth nothing."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from chaos.errors import TargetError
from chaos.model import Status
from chaos.stacks.etcd.stack import EtcdStack
from chaos.stacks.etcd.versions import DEFAULT_VERSION, provide
from chaos.targets.netns.target import NetnsTarget
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


def assert_no_yes(result, *words):
    """The run can't tell, and says which fault it was."""
    validity = verdict(result, "validity")
    assert validity.status is Status.INCONCLUSIVE, validity.summary
    assert result.judgement.exit_code in (11, 12), result.judgement.sentence
    for word in words:
        assert word in validity.summary, validity.summary


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


@pytest.fixture
def wrapped(tmp_path):
    """Make a binary that is etcd with a flaw: the shell text decides when it is not."""

    def make(flaw: str) -> Path:
        path = tmp_path / "etcd-with-a-flaw"
        real = provide(DEFAULT_VERSION, lambda _: None)
        path.write_text(f'#!/bin/sh\ncase "$1" in --version) exec {real} --version;; esac\n{flaw.format(real=real)}\n')
        path.chmod(path.stat().st_mode | stat.S_IEXEC | stat.S_IXGRP | stat.S_IXOTH)
        return path

    return make


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
        from dataclasses import replace

        return send(self, name=name, aimed=replace(aimed, **change(aimed)), deadline_s=deadline_s)

    monkeypatch.setattr(NetnsTarget, "send_inject", send_altered)


def test_half_the_latency_that_was_asked_for_is_found(tmp_path, monkeypatch):
    from dataclasses import replace

    def halved(aimed):
        impairment = replace(aimed.action.impairment, delay_s=aimed.action.impairment.delay_s / 2)
        return {"action": replace(aimed.action, impairment=impairment)}

    altered(monkeypatch, halved)
    assert_no_yes(short.run(tmp_path, short.text(steps=SLOW_FOLLOWER)), "slow")


def test_a_shaper_on_the_wrong_node_is_found(tmp_path, monkeypatch):
    altered(monkeypatch, lambda aimed: {"subject": "client1"})
    assert_no_yes(short.run(tmp_path, short.text(steps=SLOW_FOLLOWER)), "slow")


def test_loss_on_the_wrong_side_is_found(tmp_path, monkeypatch):
    from dataclasses import replace

    altered(monkeypatch, lambda aimed: {"action": replace(aimed.action, direction="out")})
    steps = "steps:\n  - {name: lossy, at: 2s, for: 6s, on: {role: follower, count: 1}, fault: {loss: {share: 20%}}}"
    assert_no_yes(short.run(tmp_path, short.text(steps=steps, duration="9s")), "lossy")


def test_a_leader_fault_that_met_a_follower_is_found(tmp_path, monkeypatch):
    find = EtcdStack.find
    monkeypatch.setattr(
        EtcdStack, "find", lambda self, role, *rest: find(self, "follower" if role == "leader" else role, *rest)[:1]
    )
    steps = "steps:\n  - {name: slow-leader, at: 2s, for: 5s, on: leader, fault: {latency: {delay: 50ms}}}"
    assert_no_yes(short.run(tmp_path, short.text(steps=steps)), "slow-leader")


def test_a_heal_that_fails_leaves_the_target_dirty(tmp_path, monkeypatch):
    from chaos.targets.netns.injection import NetnsInjection

    heal = NetnsInjection.heal

    def fails(self):
        from concurrent.futures import Future

        heal(self).result()
        failed = Future()
        failed.set_exception(TargetError("the undo was refused"))
        return failed

    monkeypatch.setattr(NetnsInjection, "heal", fails)
    result = short.run(tmp_path, short.text())
    assert result.exit_code == 13
    assert result.judgement.exit_code == 13


# ---------------------------------------------------------------- the evidence is missing


def test_a_throttled_generator_can_not_tell(tmp_path):
    result = short.run(tmp_path, short.text(kv=", sabotage: throttle"))
    assert_no_yes(result)


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
    assert_no_yes(result, "3.5.1")


def test_a_full_disk_can_not_tell_and_everything_is_healed(tmp_path):
    """The recording's folder has 3 MB: less than the run needs."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess_mount(small)
    try:
        result = short.run(small, short.text(rate="400/s", duration="20s"))
        assert result.exit_code in (11, 12)
    finally:
        os.system(f"umount -l {small}")  # noqa: S605  # a path of pytest's own


def subprocess_mount(folder: Path) -> None:
    import subprocess

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "chaosgate-test", str(folder)], check=True)


def test_a_gate_that_raises_can_not_tell(tmp_path, monkeypatch):
    from gates.linearizable import Linearizable

    def raises(self, recording):
        raise ZeroDivisionError("a bug in a gate")

    monkeypatch.setattr(Linearizable, "judge", raises)
    found = verdict(short.run(tmp_path, short.text(gates="  - linearizable", steps="", duration="3s")), "linearizable")
    assert found.status is Status.INCONCLUSIVE
    assert "ZeroDivisionError" in found.summary
