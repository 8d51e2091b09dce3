"""What whoever runs experiments may do in a cluster: with all of it faults work, without a right the error names it."""

from __future__ import annotations

import copy
import json

import pytest
from click.testing import CliRunner

from chaos.cli import main
from chaos.errors import CapabilityError, TargetError
from chaos.model import Aimed, Proof, Signal
from chaos.targets.kubernetes import install
from chaos.targets.kubernetes.access import connect
from chaos.targets.kubernetes.target import open_kubernetes
from tests.targets.kubernetes.served import LEASE_S, READY_S, ROLES
from tests.targets.told import evidence_of

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]

ROLES_OF = [one for one in install.resources() if "rules" in one]
BOUND = {"chaosgate-controller": "", "chaosgate-stack": "default", "chaosgate-agents": install.NAMESPACE}
RIGHTS = [
    (one["metadata"]["name"], rule["resources"][0], verb)
    for one in ROLES_OF
    for rule in one["rules"]
    for verb in rule["verbs"]
]
NOT_YET = ("chaosgate-agents", "pods/exec", "create")  # a websocket is a GET; Kubernetes 1.35 asks for create, too


def rights_but(without):
    """Return the shipped roles under other names, less one right."""
    made = copy.deepcopy(ROLES_OF)
    for one in made:
        for rule in one["rules"]:
            mine = (one["metadata"]["name"], rule["resources"][0])
            rule["verbs"] = [verb for verb in rule["verbs"] if (*mine, verb) != without]
        one["rules"] = [rule for rule in one["rules"] if rule["verbs"]]
    return made


@pytest.fixture
def engineer(served, cluster, tmp_path):
    """Somebody with the shipped roles, less one right: a function that returns their way into the cluster."""
    from kubernetes import client

    rbac = client.RbacAuthorizationV1Api(served.api)
    served.core.create_namespaced_service_account("default", {"metadata": {"name": "engineer"}})
    bound = []

    def bind(role):
        name, namespace = role["metadata"]["name"], BOUND[role["metadata"]["name"]]
        kind = "ClusterRole" if not namespace else "Role"
        body = {"metadata": {"name": f"e-{name}"}, "rules": role["rules"]}
        subjects = [{"kind": "ServiceAccount", "name": "engineer", "namespace": "default"}]
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": f"e-{name}"}
        binding = {"metadata": {"name": f"e-{name}"}, "roleRef": reference, "subjects": subjects}
        if namespace:
            rbac.create_namespaced_role(namespace, body)
            rbac.create_namespaced_role_binding(namespace, binding)
        else:
            rbac.create_cluster_role(body)
            rbac.create_cluster_role_binding(binding)
        bound.append((f"e-{name}", namespace))

    def with_all_but(without=()):
        for role in rights_but(without):
            bind(role)
        asked = {"spec": {"audiences": None, "expirationSeconds": 3600}}
        token = served.core.create_namespaced_service_account_token("engineer", "default", asked).status.token
        config = json.loads(cluster.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        return connect(str(tmp_path / "kubeconfig"))

    yield with_all_but
    leases = client.CoordinationV1Api(served.api)  # who may not write it can't give it back
    for one in leases.list_namespaced_lease("default").items:
        leases.delete_namespaced_lease(one.metadata.name, "default")
    for name, namespace in bound:
        if namespace:
            rbac.delete_namespaced_role_binding(name, namespace)
            rbac.delete_namespaced_role(name, namespace)
        else:
            rbac.delete_cluster_role_binding(name)
            rbac.delete_cluster_role(name)
    served.core.delete_namespaced_service_account("engineer", "default")


def test_the_shipped_roles_are_enough(engineer, tmp_path):
    with open_kubernetes(engineer(), "default", ROLES, evidence=tmp_path, lease_s=LEASE_S) as target:
        injection = target.inject([Aimed(subject="served-0", action=Signal(signal="STOP"))], deadline_s=60)
        assert evidence_of(injection, "confirm").proof is Proof.CONFIRMED
        assert injection.heal().result(READY_S).proof is Proof.CONFIRMED


@pytest.mark.parametrize("right", [one for one in RIGHTS if one != NOT_YET], ids="-".join)
def test_without_one_right_the_error_names_it(engineer, tmp_path, right):
    _, resource, verb = right
    with (
        pytest.raises((CapabilityError, TargetError), match="403") as refused,
        open_kubernetes(engineer(right), "default", ROLES, evidence=tmp_path, lease_s=LEASE_S),
    ):
        pass
    assert verb in str(refused.value)
    assert resource.partition("/")[0] in str(refused.value)
    assert "chaosgate install --print" in str(refused.value)


def test_nothing_more_is_held(engineer, served):
    """What the roles grant besides what everybody may: looking at oneself and at what the API offers."""
    from kubernetes import client

    reviews = client.AuthorizationV1Api(engineer().api)
    held = set()
    for namespace in ("default", install.NAMESPACE, "kube-system"):
        told = reviews.create_self_subject_rules_review({"spec": {"namespace": namespace}}).status.resource_rules
        held |= {
            (namespace, resource, verb)
            for rule in told
            for resource in rule.resources
            for verb in rule.verbs
            if not resource.startswith("selfsubject")
        }
    own = {("default", "pods", "list"), ("default", "namespaces", "get")}
    own |= {("default", "leases", verb) for verb in ("get", "create", "update")}
    own |= {(install.NAMESPACE, "pods", "list")}
    own |= {(install.NAMESPACE, "pods/exec", verb) for verb in ("get", "create")}
    everywhere = {(namespace, "nodes", "list") for namespace in ("default", install.NAMESPACE, "kube-system")}
    assert held == own | everywhere


def test_a_token_that_is_none_is_told_as_such(cluster, tmp_path):
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "expired"}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    with pytest.raises(TargetError, match="are the credentials expired"):
        connect(str(tmp_path / "kubeconfig"))


def test_an_agent_of_another_version_is_refused(served, tmp_path, monkeypatch):
    monkeypatch.setattr(install, "modules", lambda: "of tomorrow")
    with (
        pytest.raises(TargetError, match="an agent of another version than this chaosgate: install"),
        open_kubernetes(served, "default", ROLES, evidence=tmp_path),
    ):
        pass


def test_the_command_installs_again_what_is_there_and_names_the_cluster(agents, cluster):
    done = CliRunner().invoke(main, ["install", "--yes", "--kubeconfig", str(cluster.kubeconfig)])
    assert done.exit_code == 0, done.output
    assert "context chaosgate-lab (https://127.0.0.1:" in done.output
    assert "3 agents are ready" in done.output
