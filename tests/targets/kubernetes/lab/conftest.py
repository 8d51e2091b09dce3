"""One cluster of three nodes in three zones for every test that leaves it as it was."""

from __future__ import annotations

import os

import pytest


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
