"""One cluster of three nodes in three zones for every test that leaves it as it was."""

from __future__ import annotations

import os
import sys

import pytest

from chaos.targets.kubernetes.safety import ALLOWED, OPT_IN
from tests.leftovers import await_true
from tests.targets.kubernetes.served import READY_S, ready, stateful_set


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    from chaos.targets.kubernetes.lab.cluster import Cluster

    with Cluster.open(base=tmp_path_factory.mktemp("labs"), nodes=3, zones=("a", "b", "c")) as one:
        yield one


@pytest.fixture(scope="session")
def client(cluster):
    """Return the official client's core, apps and policy APIs on the cluster."""
    from kubernetes import client, config

    api = config.new_client_from_config(str(cluster.kubeconfig))
    return client.CoreV1Api(api), client.AppsV1Api(api), client.PolicyV1Api(api)


@pytest.fixture(scope="session")
def access(cluster):
    from chaos.targets.kubernetes.access import connect

    return connect(str(cluster.kubeconfig))


@pytest.fixture(scope="session")
def agents(cluster, access):
    """An agent on every machine; gone afterwards. Yields the way into the cluster."""
    from chaos.targets.kubernetes import agent_image, install

    archive = agent_image.archive()
    for node in cluster.layout.zones:
        cluster.load(node, archive)
    install.install(access, say=lambda text: sys.stdout.write(f"{text}\n"))
    yield access
    install.uninstall(access)


@pytest.fixture(scope="session")
def served(agents):
    """Three pods that answer, each on a machine of its own. Yields the way into the cluster."""
    agents.core.patch_namespace("default", {"metadata": {"labels": {OPT_IN: ALLOWED}}})
    agents.apps.create_namespaced_stateful_set("default", stateful_set())
    await_true("three pods answer", lambda: ready(agents) == 3, within_s=READY_S)
    yield agents
    agents.apps.delete_namespaced_stateful_set("served", "default")
