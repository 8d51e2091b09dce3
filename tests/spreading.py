"""How tests are spread over the workers: those that boot whole clusters wait for each other, in one queue.

Two of these at once on two cores made sound stacks miss their own deadlines, and took as long in all. xdist's groups
would say so by a mark, if the marks' names still reached its scheduler (pytest 9.2, pytest-xdist 3.8).
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

CLUSTERS, MACHINES = "clusters", "machines"
QUEUES = {
    "tests/e2e/test_streaming_says_no.py": CLUSTERS,
    "tests/e2e/test_no_jvm_left.py": CLUSTERS,
    "tests/stacks/flink/test_flink_in_lab.py": CLUSTERS,
    "tests/stacks/kafka/test_kafka_in_lab.py": CLUSTERS,
    "tests/stacks/streaming/test_streaming_in_lab.py": CLUSTERS,
    "tests/targets/kubernetes/lab/test_lab_cluster.py": CLUSTERS,
    "tests/targets/kubernetes/test_kubernetes_deadmen.py": CLUSTERS,
    "tests/targets/kubernetes/test_kubernetes_rights.py": CLUSTERS,
    "tests/targets/kubernetes/test_kubernetes_target.py": CLUSTERS,
    "tests/targets/kubernetes/lab/test_lab_keeper.py": CLUSTERS,
    "tests/vm/test_vm.py": MACHINES,  # its longest test takes minutes: it must not come last
}


class Queues(LoadScopeScheduling):
    """Gives a worker a whole queue, and of all other tests one at a time; the longest queue first."""

    def _split_scope(self, nodeid: str) -> str:
        return QUEUES.get(nodeid.partition("::")[0], nodeid)
