"""How tests are spread over the workers: those that boot whole clusters or machines wait in one of two queues.

xdist's own groups would say so by a mark, if the marks' names still reached its scheduler (pytest 9, pytest-xdist 3.8).
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

RUNS_OF_JVMS, LABS_AND_MACHINES = "runs of JVMs", "labs and machines"
QUEUES = {
    "tests/e2e/test_streaming_says_no.py": RUNS_OF_JVMS,
    "tests/e2e/test_no_jvm_left.py": RUNS_OF_JVMS,
    "tests/stacks/flink/test_flink_in_lab.py": LABS_AND_MACHINES,
    "tests/stacks/kafka/test_kafka_in_lab.py": LABS_AND_MACHINES,
    "tests/stacks/streaming/test_nexmark_in_lab.py": LABS_AND_MACHINES,
    "tests/stacks/streaming/test_streaming_in_lab.py": LABS_AND_MACHINES,
    "tests/targets/kubernetes/lab/test_lab_cluster.py": LABS_AND_MACHINES,
    "tests/targets/kubernetes/lab/test_lab_keeper.py": LABS_AND_MACHINES,
    "tests/vm/test_vm.py": LABS_AND_MACHINES,
}


class Queues(LoadScopeScheduling):
    """Gives a worker a whole queue, and of all other tests one at a time; the longest queue first."""

    def _split_scope(self, nodeid: str) -> str:
        return QUEUES.get(nodeid.partition("::")[0], nodeid)
