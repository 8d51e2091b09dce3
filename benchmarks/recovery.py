"""How long is the output silent after a fault, over repeats? Whole runs; what each decided is told beside it.

    python benchmarks/recovery.py [--times 10] [FILE …]

The silence is the longest in which no record of the output became visible, from the gate `output-continues`; restarts
are the job's. Faults, seeds and loads are the files' own; each run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
FILES = [
    f"experiments/flink/{name}.yaml"
    for name in ("taskmanager-kill", "taskmanager-power-loss", "taskmanager-frozen", "jobmanager-kill", "hot-update")
]


def run(file: str, seed: int) -> dict[str, Any]:
    """Run an experiment once; return its verdict."""
    with tempfile.TemporaryDirectory(prefix="chaosgate-bench-") as runs:
        argv = [sys.executable, "-m", "chaos.cli", "run", file, "--runs", runs, "--seed", str(seed)]
        subprocess.run(argv, cwd=HERE, stdout=subprocess.DEVNULL, check=False)
        there = next(Path(runs).glob("*/verdict.json"), None)
        if there is None:
            return {"verdicts": [], "decision": "no verdict"}
        found: dict[str, Any] = json.loads(there.read_text(encoding="utf-8"))
        return found


def numbers(verdict: dict[str, Any], gate: str) -> dict[str, Any]:
    """Return what a gate measured; empty if it was not asked."""
    return next((one["numbers"] for one in verdict["verdicts"] if one["gate"] == gate), {})


def row(file: str, times: int) -> None:
    """Print one experiment's row."""
    verdicts = [run(file, seed) for seed in range(1, times + 1)]
    silences = [value for one in verdicts if (value := numbers(one, "output-continues").get("value_s")) is not None]
    restarts = [str(numbers(one, "restarts").get("restarts", "–")) for one in verdicts]
    decisions = [one["decision"] for one in verdicts]
    told = ", ".join(f"{decisions.count(word)} {word}" for word in dict.fromkeys(decisions))
    spread = "–"
    if silences:
        spread = f"{statistics.median(silences):5.1f} s {min(silences):5.1f} s {max(silences):5.1f} s"
    print(f"{Path(file).stem:<26}{len(verdicts):>5}  {spread:>25}  {' '.join(restarts):<24} {told}", flush=True)


def main() -> None:
    """Run each file several times."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*", default=FILES, metavar="FILE")
    options.add_argument("--times", type=int, default=10)
    asked = options.parse_args()
    print(f"{'experiment':<26}{'runs':>5}  {'silence: median least most':>25}  restarts")
    for file in asked.files:
        row(file, asked.times)


if __name__ == "__main__":
    main()
