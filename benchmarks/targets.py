"""The same faults on a lab of namespaces and on a Kubernetes of three machines: how faithful, how soon, how soon gone.

    python benchmarks/targets.py [--times 10] [netns] [kubernetes]

Three nodes (pods, each on a machine of its own) that answer over HTTP. Each fault is asked of the first one, as an
experiment's step would: what the probe measured while it was in force, how long after it was asked for it was applied,
confirmed by measurement, and after the heal was asked for proved gone. The cost of an agent that has nothing to do is
read from its cgroup, on Kubernetes.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from chaos.model import Aimed, Cut, Freeze, Impairment, Process, Shape  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = ("netns", "kubernetes")
PATIENCE_S = 90.0
SERVER = "import http.server as h; h.HTTPServer(('0.0.0.0', 8080), h.SimpleHTTPRequestHandler).serve_forever()"


def faults(peer: str) -> dict[str, tuple[Any, str]]:
    """Return label → (action, how the measurement that tells is called)."""
    return {
        "delay 50 ms": (Shape(impairment=Impairment(delay_s=0.05)), "delay"),
        "loss 20 %": (Shape(impairment=Impairment(loss=0.2)), "loss"),
        "cut": (Cut(peers=(peer,)), "cut"),
        "freeze": (Freeze(), ""),
    }


@contextmanager
def netns(folder: Path) -> Iterator[Any]:
    """Yield a lab whose first node serves."""
    from chaos.targets.netns.lab import NodeSpec  # noqa: PLC0415
    from chaos.targets.netns.target import open_netns  # noqa: PLC0415

    nodes = [NodeSpec(name=name, role="member") for name in ("n1", "n2", "n3")]
    with open_netns(nodes, base=folder / "labs", evidence=folder / "evidence") as target:
        for node in nodes:
            argv = (sys.executable, "-c", SERVER)
            target.start(node.name, Process(name="server", argv=argv, log=str(folder / f"{node.name}.log")))
        yield target


@contextmanager
def kubernetes(folder: Path) -> Iterator[Any]:
    """Yield three pods of a cluster that is booted for them."""
    from chaos.targets.kubernetes import agent_image, install  # noqa: PLC0415
    from chaos.targets.kubernetes.access import connect  # noqa: PLC0415
    from chaos.targets.kubernetes.lab.cluster import Cluster  # noqa: PLC0415
    from chaos.targets.kubernetes.target import open_kubernetes  # noqa: PLC0415
    from tests.targets.kubernetes.served import ROLES, ready, stateful_set  # noqa: PLC0415

    with ExitStack() as stack:
        began = time.monotonic()
        archive = agent_image.archive(print)
        cluster = stack.enter_context(
            Cluster.open(base=folder / "labs", nodes=3, zones=("a", "b", "c"), images=[archive])
        )
        said = ", ".join(f"{phase} {at_s:.1f} s" for phase, at_s in cluster.times.items())
        print(f"boot with the agent's image on every machine, by phase: {said}")
        access = connect(str(cluster.kubeconfig))
        install.install(access)
        print(f"agents ready {time.monotonic() - began:.1f} s after the beginning")
        access.apps.create_namespaced_stateful_set("default", stateful_set())
        wait(lambda: ready(access) == 3)
        began = time.monotonic()
        opened = open_kubernetes(access, "default", ROLES, evidence=folder / "evidence", unlabelled=True)
        target = stack.enter_context(opened)
        print(f"target opened on ready pods after {time.monotonic() - began:.1f} s")
        yield target


def wait(holds: Any) -> None:
    """Wait for something; TimeoutError if it does not come."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError("it has not come")
        time.sleep(0.1)


def measured(target: Any, action: Any, name: str) -> dict[str, float]:
    """Do it once: seconds until applied, confirmed, gone; what the probe got; which proofs."""
    first = target.topology().nodes[0].name
    asked = time.monotonic()
    injection = target.inject([Aimed(subject=first, action=action)], deadline_s=PATIENCE_S)
    applied = time.monotonic()
    while (one := injection.events.get(timeout=PATIENCE_S)).phase != "confirm":
        continue
    confirmed, proof = time.monotonic(), one.proof
    hurt = [m for m in one.measurements if name and m.name.startswith(name) and m.path == "hurt"]
    got = [m.got for m in hurt if m.got is not None]
    healing = time.monotonic()
    healed = injection.heal().result(PATIENCE_S)
    return {
        "applied": applied - asked,
        "confirmed": confirmed - asked,
        "gone": time.monotonic() - healing,
        "got": statistics.median(got) if got else float("nan"),
        "counts": float(proof == "confirmed" and healed.proof == "confirmed"),
    }


COLUMNS = "{:<12} {:>12} {:>18} {:>19} {:>17}  {}"


def table(target: Any, times: int) -> None:
    """Print a row a fault."""
    peer = target.topology().nodes[1].name
    print(COLUMNS.format("fault", "got, median", "applied p50/p99", "confirmed p50/p99", "gone p50/p99", "counted"))
    for label, (action, name) in faults(peer).items():
        rows = [measured(target, action, name) for _ in range(times)]
        spans = [spread([row[what] for row in rows]) for what in ("applied", "confirmed", "gone")]
        got = statistics.median(row["got"] for row in rows)
        counted = sum(row["counts"] for row in rows)
        said = "" if math.isnan(got) else f"{got:.3g}"
        print(COLUMNS.format(label, said, *spans, f"{counted:.0f} of {times}"), flush=True)


def spread(seconds: list[float]) -> str:
    """Return the median and the 99th percentile, or the greatest of fewer than a hundred."""
    ordered = sorted(seconds)
    return f"{statistics.median(ordered):.2f}/{ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]:.2f} s"


def main() -> int:
    """Measure on the chosen targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--times", type=int, default=10, help="how often each fault is injected")
    options = parser.parse_args()
    for name in options.targets:
        with tempfile.TemporaryDirectory() as folder:
            opened = {"netns": netns, "kubernetes": kubernetes}[name](Path(folder))
            with opened as target:
                print(f"\n-- {name}")
                table(target, options.times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
