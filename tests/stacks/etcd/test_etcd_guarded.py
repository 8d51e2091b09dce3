"""A real cluster that does not let everybody in, and who is let in all the same."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from chaos.errors import StackError
from chaos.model import StackAction, StackSpec
from chaos.probes.etcd import ReplicaProbe, StatusProbe
from chaos.stacks.etcd import users
from chaos.stacks.etcd.access import OPEN, Tls, files_of
from chaos.stacks.etcd.certificates import issue
from chaos.stacks.etcd.client import EtcdClient, EtcdError
from chaos.stacks.etcd.stack import EtcdStack
from chaos.stacks.etcd.versions import SHIPPED
from tests.stacks.etcd.clusters import cluster
from tests.stacks.etcd.loopback import until

pytestmark = pytest.mark.real

PASSWORD = "Ahorn-42-secret"  # noqa: S105 — of clusters that live for seconds
USER = {"user": "gate", "password_env": "ETCD_PASSWORD"}


@pytest.fixture(autouse=True)
def _password(monkeypatch):
    monkeypatch.setenv("ETCD_PASSWORD", PASSWORD)


def as_other(members, **access):
    """Return the members as somebody else sees them, who has not logged in yet."""
    return replace(members, access=replace(members.access, **access), tokens={})


def refusals(members, question=lambda client: client.put("k", "v")):
    """Return why each member refused; empty for one that did not."""
    answers = members.ask(question, 5.0)
    return [str(answer) if isinstance(answer, EtcdError) else "" for answer in answers.values()]


@pytest.mark.parametrize("version", SHIPPED)
def test_a_cluster_with_tls_and_a_user_serves_us_and_nobody_else(version):
    with cluster(version, tls=True, **USER) as (stack, target):
        assert stack.members.ask_one("etcd3", lambda c: c.put("k", "v"), 5.0)
        (leader,) = stack.find("leader", "", 1.0)
        assert leader.role == "member"
        assert not stack.quorum_lost()
        assert {facts["version"] for facts in stack.versions().values()} == {version}
        up = [r.value for r in StatusProbe.of(stack, target).read(2.0) if r.name == "up"]
        assert up == [1.0, 1.0, 1.0]
        readings = stack.compare_replicas()
        assert len({r.value for r in readings}) == 1
        assert all(json.loads(r.text)["quiet"] for r in readings)

        assert all("user name is empty" in why for why in refusals(users.strangers(stack.members)))
        assert all(refusals(as_other(stack.members, tls=None)))
        for log in target.base.rglob("*.log"):
            assert PASSWORD not in log.read_text()


def test_a_password_in_the_environment_is_in_no_log_even_where_nobody_asked_for_it():
    with cluster(members=1) as (_, target):
        for log in target.base.rglob("*.log"):
            assert PASSWORD not in log.read_text()
            assert "ETCD_PASSWORD" in log.read_text()  # etcd tells of it, and would have told its value


def test_a_wrong_password_is_refused_with_the_words_that_help():
    with cluster(members=1, **USER) as (stack, _):
        (why,) = refusals(as_other(stack.members, password="wrong"))  # noqa: S106 — see above
        assert "log-in as 'gate' with the password in ETCD_PASSWORD: " in why
        assert "invalid user ID or password" in why
        assert "wrong" not in why


def test_certificates_of_another_authority_are_refused_by_either_side(tmp_path):
    issue({}, [tmp_path])
    other = files_of(tmp_path)
    with cluster(members=1, tls=True) as (stack, _):
        own = stack.members.access.tls
        (why,) = refusals(as_other(stack.members, tls=other))
        assert "certificate verify failed" in why
        assert all(refusals(as_other(stack.members, tls=replace(other, ca=own.ca))))
        assert all(refusals(as_other(stack.members, tls=Tls(ca=own.ca))))
        assert refusals(stack.members) == [""]


def test_a_plain_client_is_refused_by_tls_on_both_ports():
    with cluster(members=1, tls=True) as (stack, _):
        for address in (stack.members.endpoints["etcd1"], stack.members.peers["etcd1"]):
            with EtcdClient(address, timeout_s=2, access=OPEN) as plain, pytest.raises(EtcdError):
                plain.status()


def test_a_member_that_restarts_has_forgotten_our_token_and_is_asked_all_the_same():
    with cluster("3.4.23", tls=True, **USER) as (stack, target):  # whose hashes come from the peer port
        stack.members.ask(EtcdClient.status, 2.0)
        target.kill("etcd2")
        target.revive("etcd2")
        until(lambda: len(stack.members.statuses(1.0)) == 3)
        assert until(lambda: not any(refusals(stack.members)))
        assert "restarted" in stack.operate(StackAction(operation="restart"), "etcd1", 30.0)
        readings = ReplicaProbe.of(stack, target).compare_quiet(10.0)
        assert len({r.value for r in readings}) == 1
        assert None not in {r.value for r in readings}


def test_a_cluster_that_is_there_is_reached_by_its_files():
    with cluster(members=1, tls=True, **USER) as (stack, target):
        files = asdict(stack.members.access.tls)

        def known(**more):
            settings = {"members": 1, "tls": {**files, **more}, **USER}
            return EtcdStack.of(StackSpec(name="etcd", settings=settings)).members_on(target)

        assert refusals(known()) == [""]
        assert refusals(known(server_name="127.0.0.1")) == [""]  # another of its names
        (why,) = refusals(known(server_name="etcd.example"))
        assert "certificate verify failed" in why


def test_a_door_that_stays_open_is_seen():
    with cluster(members=1) as (stack, _), pytest.raises(StackError, match="etcd1: users are enabled, and a write"):
        users.not_closed(stack.members)


def test_a_member_that_does_not_answer_a_stranger_has_closed_no_door():
    with cluster(**USER) as (stack, target):
        assert users.not_closed(stack.members) == ""
        target.kill("etcd2")
        why = users.not_closed(stack.members)
        assert why.startswith("nobody knows whether strangers are refused: ")
        assert stack.members.endpoints["etcd2"] in why
        target.revive("etcd2")
        assert until(lambda: not users.not_closed(stack.members))


def test_users_that_etcd_refuses_are_the_stacks_trouble():
    with (
        cluster(members=1) as (stack, _),
        pytest.raises(StackError, match=r"users can't be enabled: .*user name is empty"),
    ):
        users.enable(stack.members)
