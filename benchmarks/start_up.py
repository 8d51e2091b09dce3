"""From nothing to a job that runs: Kafka, Flink and a SQL job between them, split by phase, and what they weigh.

    python benchmarks/start_up.py [--times 5] [--brokers 3] [--taskmanagers 3] [--alone]

Set-up (jars, class archives) is done before the first start. A phase's time is when it was over, from the first process
on; memory is the resident set of all servers once the job runs, what they share counted once for each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.model import StackSpec
from chaos.stacks.streaming.stack import StreamingStack
from chaos.targets.netns.lab import NodeSpec
from chaos.targets.netns.target import open_netns


def start(settings: dict[str, dict[str, object]], folder: Path) -> tuple[dict[str, float], float]:
    """Start a stack once; return when each phase was over, in seconds, and the memory of all servers, in GB."""
    stack = StreamingStack.of(StackSpec(name="streaming", settings=settings))
    stack.provide((), print)
    nodes = [NodeSpec(name=node.name, role=node.role) for node in stack.nodes()]
    with open_netns(nodes, base=folder / "labs", evidence=folder / "evidence") as target:
        began = time.monotonic()
        stack.up(target, folder / "logs")
        whole_s = time.monotonic() - began
        return {**stack.phases, "whole": whole_s}, sum(_resident(one.pid) for one in target.processes()) / 1e9


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def main() -> None:
    """Start several times, and print medians with the least and the most."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--times", type=int, default=5)
    options.add_argument("--brokers", type=int, default=3)
    options.add_argument("--taskmanagers", type=int, default=3)
    options.add_argument("--alone", action="store_true", help="one JobManager and no ZooKeeper")
    asked = options.parse_args()
    flink = {"taskmanagers": asked.taskmanagers, "standby": not asked.alone}
    settings = {"kafka": {"brokers": asked.brokers}, "flink": flink}
    seen: dict[str, list[float]] = {}
    weights = []
    for _ in range(asked.times):
        with tempfile.TemporaryDirectory(prefix="chaosgate-bench-") as folder:
            phases, weight = start(settings, Path(folder))
        weights.append(weight)
        for name, at_s in phases.items():
            seen.setdefault(name, []).append(at_s)
    print(f"{'over':<34}{'median':>9}{'least':>9}{'most':>9}")
    for name, times in sorted(seen.items(), key=lambda item: statistics.median(item[1])):
        print(f"{name:<34}{statistics.median(times):7.1f} s{min(times):7.1f} s{max(times):7.1f} s")
    print(f"{'memory':<34}{statistics.median(weights):6.2f} GB{min(weights):6.2f} GB{max(weights):6.2f} GB")


if __name__ == "__main__":
    main()
