"""Every fault of a pod on a real cluster: measured across machines, confirmed, healed, proved. And how it says no."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from chaos.errors import CapabilityError, TargetError, UsageError
from chaos.model import Aimed, CpuQuota, Cut, Direction, DiskFault, Freeze, Impairment, Power, Proof, Shape, Signal
from chaos.targets.kubernetes.target import open_kubernetes
from tests.leftovers import await_true
from tests.targets.kubernetes.served import LEASE_S, PORT, READY_S, ROLES, ready
from tests.targets.told import PATIENCE_S, evidence_of

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def target(served, tmp_path_factory):
    evidence = tmp_path_factory.mktemp("evidence")
    with open_kubernetes(served, "default", ROLES, evidence=evidence, lease_s=LEASE_S) as one:
        yield one


@pytest.fixture(autouse=True)
def nothing_stays_in_force(request):
    """A test that fails in mid-fault must not fail the next ones."""
    yield
    if "target" in request.fixturenames:
        one = request.getfixturevalue("target")
        for injection in list(one._in_force):
            injection.heal().exception(PATIENCE_S)
        await_true("three pods answer", lambda: ready(one.access) == 3, within_s=READY_S)


def answers(target, pod):
    source = next(one.name for one in target.pods if one.name != pod)
    told = target.client.ask("ports", 10, source=source, sink=pod, ports=[PORT])
    return told["ports"][0]["outcome"] == "answered"


DELAY = Shape(impairment=Impairment(delay_s=0.05))
ACTIONS = {
    "delay": DELAY,
    "delay out": Shape(impairment=Impairment(delay_s=0.03), direction=Direction.OUT),
    "loss": Shape(impairment=Impairment(loss=0.3), direction=Direction.BOTH, peers=("served-1",)),
    "rate": Shape(impairment=Impairment(rate_bit_s=5e6)),
    "cut": Cut(peers=("served-1",)),
    "stop": Signal(signal="STOP"),
    "freeze": Freeze(),
    "kill": Signal(),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_a_fault_of_a_pod_is_confirmed_and_its_heal_is_proved(target, name):
    await_true("served-0 answers", lambda: answers(target, "served-0"), within_s=READY_S)
    injection = target.inject([Aimed(subject="served-0", action=ACTIONS[name])], deadline_s=60)
    try:
        confirmed = evidence_of(injection, "confirm")
        watched = evidence_of(injection, "watch")
    finally:
        healed = injection.heal().result(READY_S)
    assert confirmed.proof is Proof.CONFIRMED, confirmed
    assert {one.path for one in confirmed.measurements} == {"hurt", "spared"}
    assert watched.proof is Proof.CONFIRMED, watched
    assert healed.proof is Proof.CONFIRMED, healed
    assert confirmed.effective_ns < healed.effective_ns
    assert ("down for" in healed.detail) == (name == "kill")


def test_pods_are_on_machines_of_their_own_and_in_their_zones(target):
    assert {pod.machine for pod in target.pods} == {"node1", "node2", "node3"}
    assert {node.zone for node in target.topology().nodes} == {"a", "b", "c"}
    told = target.describe()
    assert told["kubernetes"].startswith("v1.")
    assert json.dumps(told)
    assert {one["shaper"]["backend"] != "" for one in told["machines"].values()} == {True}


def test_half_the_delay_asked_for_is_a_mismatch(target, monkeypatch):
    alter(target, monkeypatch, lambda one: replace(one, action=Shape(impairment=Impairment(delay_s=0.025))))
    assert_mismatch(target, DELAY, "delay")


def test_a_shaper_in_the_wrong_pods_network_is_a_mismatch(target, monkeypatch):
    alter(target, monkeypatch, lambda one: replace(one, subject="served-2"))
    assert_mismatch(target, DELAY, "delay")


def test_a_signal_to_nobody_is_a_mismatch(target, monkeypatch):
    alter(target, monkeypatch, lambda one: replace(one, subject="served-2"))
    assert_mismatch(target, Signal(signal="STOP"), "python3 stands still")


def alter(target, monkeypatch, change):
    """Let the agents do something else than what is measured."""
    send, revert = target.send_inject, {}

    def altered(*, name, aimed, deadline_s):
        revert[name] = aimed.subject
        return send(name=name, aimed=change(aimed), deadline_s=deadline_s)

    monkeypatch.setattr(target, "send_inject", altered)
    look = target.client.ask

    def seen(op, timeout_s, **more):  # who looks means the pod that was asked for
        if op == "observe" and (subject := revert.get(more["undo"]["name"])):
            return look("observe", timeout_s, kind=more["kind"], undo={**more["undo"], "subject": subject})
        return look(op, timeout_s, **more)

    monkeypatch.setattr(target.client, "ask", seen)


def assert_mismatch(target, action, name):
    injection = target.inject([Aimed(subject="served-0", action=action)], deadline_s=60)
    try:
        confirmed = evidence_of(injection, "confirm")
    finally:
        healed = injection.heal().result(READY_S)
    assert confirmed.proof is Proof.MISMATCH, confirmed
    assert any(one.name.startswith(name) and one.proof is Proof.MISMATCH for one in confirmed.measurements), confirmed
    assert healed.proof is Proof.CONFIRMED, healed


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (Power(), "not ours to switch off"),
        (DiskFault(ops=("sync",)), "served by its own volumes"),
    ],
)
def test_what_only_an_owner_can_do_is_refused_with_the_reason(target, action, why):
    with pytest.raises(CapabilityError, match=why):
        target.inject([Aimed(subject="served-0", action=action)], deadline_s=60)


def test_a_quota_is_set_on_the_pod_and_taken_back(target):
    injection = target.inject([Aimed(subject="served-0", action=CpuQuota(cores=0.1))], deadline_s=60)
    try:
        confirmed = evidence_of(injection, "confirm")
    finally:
        healed = injection.heal().result(READY_S)
    quota = next(one for one in confirmed.measurements if one.name.startswith("quota of"))
    assert quota.proof is Proof.CONFIRMED, confirmed
    assert confirmed.proof is Proof.INCONCLUSIVE, "an idle pod is not held back, which is no effect"
    assert healed.proof is Proof.CONFIRMED, healed


def test_a_selector_that_matches_nothing_is_refused(served, tmp_path):
    with (
        pytest.raises(UsageError, match="no pod in namespace default matches app=nobody"),
        open_kubernetes(served, "default", {"member": "app=nobody"}, evidence=tmp_path),
    ):
        pass


def test_a_second_controller_is_told_who_the_first_one_is(target, served, tmp_path):
    told = rf"namespace default is held by .*/{os.getpid()}/.* for \d+ s, renewed \d+ s ago"
    with (
        pytest.raises(UsageError, match=told),
        open_kubernetes(served, "default", ROLES, evidence=tmp_path),
    ):
        pass


def test_a_second_controller_on_other_pods_of_the_same_machines_is_refused(target, served, tmp_path, monkeypatch):
    """One journal a machine: two agents there would undo each other's doings."""
    monkeypatch.setattr("chaos.targets.kubernetes.target.Ownership", Nobody)
    with (
        pytest.raises(TargetError, match="a living run owns this journal"),
        open_kubernetes(served, "default", ROLES, evidence=tmp_path),
    ):
        pass


class Nobody:
    """No lease."""

    def __init__(self, *_):
        pass

    def release(self):
        pass


@pytest.mark.parametrize("namespace", ["kube-system", "chaosgate"])
def test_a_protected_namespace_is_refused(served, tmp_path, namespace):
    with (
        pytest.raises(UsageError, match="no experiment may hit it"),
        open_kubernetes(served, namespace, ROLES, evidence=tmp_path, unlabelled=True),
    ):
        pass


def test_a_namespace_that_has_not_opted_in_is_refused_with_what_would_do(served, tmp_path):
    served.core.create_namespace({"metadata": {"name": "quiet"}})
    try:
        with (
            pytest.raises(UsageError, match="kubectl label namespace quiet chaosgate/experiments=allowed"),
            open_kubernetes(served, "quiet", ROLES, evidence=tmp_path),
        ):
            pass
    finally:
        served.core.delete_namespace("quiet")


def test_a_pod_that_is_gone_before_the_heal_is_healed_with_evidence_and_its_successor_can_be_hit(target):
    before = {pod.name: pod.uid for pod in target.pods}
    for action in (Signal(signal="STOP"), DELAY):
        injection = target.inject([Aimed(subject="served-0", action=action)], deadline_s=60)
        evidence_of(injection, "confirm", Proof.CONFIRMED)
        target.access.core.delete_namespaced_pod("served-0", "default", grace_period_seconds=0)
        await_true("another pod answers", lambda: is_another(target, before["served-0"]), within_s=READY_S)
        healed = injection.heal().result(READY_S)
        assert healed.proof is Proof.CONFIRMED, healed
        assert any("pod served-0 is gone" in one.name for one in healed.measurements), healed
        await_true("three pods answer", lambda: ready(target.access) == 3, within_s=READY_S)
        before["served-0"] = target.access.core.read_namespaced_pod("served-0", "default").metadata.uid
    injection = target.inject([Aimed(subject="served-0", action=Cut(peers=("served-1",)))], deadline_s=60)
    assert {pod.name: pod.uid for pod in target.pods} == before
    assert evidence_of(injection, "confirm").proof is Proof.CONFIRMED
    assert injection.heal().result(READY_S).proof is Proof.CONFIRMED


def is_another(target, uid):
    found = target.access.core.list_namespaced_pod("default", field_selector="metadata.name=served-0").items
    return bool(found) and found[0].metadata.uid != uid and found[0].status.phase == "Running"
