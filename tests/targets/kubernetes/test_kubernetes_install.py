"""What is put into a cluster, and what the commands say before they touch one."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from kubernetes.client import ApiException

from chaos.cli import main
from chaos.errors import CapabilityError, TargetError, UsageError
from chaos.model import Node
from chaos.targets.kubernetes import install
from chaos.targets.kubernetes.access import _refuse_old, connect, refusal
from chaos.targets.kubernetes.pods import read
from chaos.targets.kubernetes.safety import Held


def asked(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_the_agents_are_privileged_have_no_rights_and_no_port():
    by_kind = {one["kind"]: one for one in install.resources()}
    pod = by_kind["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {"privileged": True}
    assert pod["hostPID"]
    assert not pod["automountServiceAccountToken"]
    assert not pod.get("hostNetwork")
    assert "ports" not in container
    assert not {"Service", "ClusterRoleBinding", "RoleBinding"} & set(by_kind)


def test_everything_bears_our_label_and_is_in_our_namespace():
    for one in install.resources():
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "chaosgate"
        assert one["metadata"].get("namespace", install.NAMESPACE) == install.NAMESPACE


def test_every_right_is_one_verb_on_one_thing_with_its_reason():
    rules = [line for line in install.text().splitlines() if "verbs:" in line]
    assert all("#" in line for line in rules)
    roles = [one for one in install.resources() if "rules" in one]
    granted = {(r, v) for one in roles for rule in one["rules"] for r in rule["resources"] for v in rule["verbs"]}
    assert granted == {
        ("nodes", "list"),
        ("pods", "list"),
        ("pods/exec", "get"),
        ("pods/exec", "create"),
        ("namespaces", "get"),
        ("leases", "get"),
        ("leases", "create"),
        ("leases", "update"),
    }


def test_kustomize_names_every_file():
    named = yaml.safe_load((install.MANIFESTS / "kustomization.yaml").read_text())["resources"]
    there = {path.name for path in install.MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(named) == there


def test_print_shows_the_resources_with_the_image_asked_for_and_touches_nothing(monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/no/such/file")
    done = asked("install", "--print", "--image", "registry.example/agent:7")
    assert done.exit_code == 0, done.output
    found = [one for one in yaml.safe_load_all(done.output) if one]
    (daemons,) = [one for one in found if one["kind"] == "DaemonSet"]
    assert daemons["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/agent:7"
    assert found == install.resources("registry.example/agent:7")


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_kubeconfig_that_is_none_is_told_with_what_would_do(command, tmp_path):
    (tmp_path / "config").write_text("no: kubeconfig\n")
    for name in ("config", "absent"):
        argv = [sys.executable, "-m", "chaos.cli", command, "--yes", "--kubeconfig", str(tmp_path / name)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert f"{tmp_path / name}: no cluster can be found there" in done.stderr
        assert "chaosgate lab up" in done.stderr


def test_a_context_that_is_none_is_told_with_those_there_are(tmp_path):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    with pytest.raises(UsageError, match="no context 'there'; there are here"):
        connect(str(tmp_path / "config"), "there")


# ---------------------------------------------------------------- leases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def lease(owner="host/1/abc", *, renewed_s=3, duration_s=15):
    since, renewed = NOW - timedelta(seconds=100), NOW - timedelta(seconds=renewed_s)
    return SimpleNamespace(
        holder_identity=owner, acquire_time=since, renew_time=renewed, lease_duration_seconds=duration_s
    )


def test_a_lease_says_whose_it_is_and_since_when():
    held = Held.read(lease())
    assert held.lives(NOW)
    assert held.told(NOW) == "host/1/abc for 100 s, renewed 3 s ago"


@pytest.mark.parametrize(("renewed_s", "lives"), [(0, True), (14.9, True), (15, False), (3600, False)])
def test_a_lease_that_nobody_renews_is_nobodys(renewed_s, lives):
    assert Held.read(lease(renewed_s=renewed_s)).lives(NOW) is lives


@pytest.mark.parametrize("spec", [None, lease(owner=""), lease(owner=None)])
def test_a_lease_without_a_holder_is_nobodys(spec):
    assert Held.read(spec) is None


# ---------------------------------------------------------------- what the API says


def refused(status, body="", reason=""):
    error = ApiException(status=status, reason=reason)
    error.body = body
    return error


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            refused(403, '{"message": "pods is forbidden"}'),
            CapabilityError,
            "pods is forbidden; it takes the right to l",
        ),
        (refused(401, '{"message": "Unauthorized"}'), TargetError, "are the credentials expired?"),
        (refused(500, '{"message": "etcd is slow"}'), TargetError, "the API server says 500: etcd is slow"),
        (refused(500, "no JSON", "Internal Server Error"), TargetError, "says 500: Internal Server Error"),
    ],
)
def test_a_refusal_says_what_was_asked_for_what_was_said_and_what_would_do(error, kind, said):
    found = refusal("the pods", error, "list pods")
    assert type(found) is kind
    assert str(found).startswith("the pods: ")
    assert said in str(found)


@pytest.mark.parametrize(("minor", "works"), [("29", True), ("34+", True), ("28", False)])
def test_a_server_that_is_too_old_is_refused(minor, works):
    told = SimpleNamespace(major="1", minor=minor, git_version=f"v1.{minor}.0")
    if works:
        _refuse_old(told)
        return
    with pytest.raises(CapabilityError, match=r"v1\.28\.0; this target works with 1\.29 and later"):
        _refuse_old(told)


# ---------------------------------------------------------------- pods as nodes


def pod(**more):
    spec = {"node_name": "node1", "host_network": None, "host_pid": None, "share_process_namespace": None}
    meta = {"name": "a-0", "namespace": "default", "uid": "u", "deletion_timestamp": None}
    status = {"phase": "Running", "pod_ip": "10.0.0.1"}
    parts = {"metadata": meta, "spec": spec, "status": status}
    for name, value in more.items():
        next(part for part in parts.values() if name in part)[name] = value
    return SimpleNamespace(**{name: SimpleNamespace(**part) for name, part in parts.items()})


def test_a_pod_is_a_node_in_the_zone_of_its_machine():
    assert read(pod(), "member", {"node1": "a"}).node == Node(name="a-0", role="member", address="10.0.0.1", zone="a")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"host_network": True}, "would hit the whole machine"),
        ({"share_process_namespace": True}, "none can be told from another"),
        ({"host_pid": True}, "could not be told from its own"),
        ({"pod_ip": "fd00::1"}, "only IPv4"),
        ({"phase": "Pending"}, "default/a-0 is Pending"),
        ({"deletion_timestamp": NOW}, "default/a-0 is Terminating"),
        ({"pod_ip": None}, "not a running pod"),
    ],
)
def test_a_pod_that_can_not_be_a_node_is_refused_with_the_reason(more, why):
    with pytest.raises(TargetError, match=why):
        read(pod(**more), "member", {})
