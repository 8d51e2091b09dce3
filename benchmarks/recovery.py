"""How soon does a Flink job's output come back after a fault, over ten of a kind in one run?

    python benchmarks/recovery.py [--times 10] [kill power freeze jobmanager]

A fault every 40 seconds, of the job's own choosing by the seed; each recovery is told by the gate `output-recovery`:
when it showed, how much work was late at most (in seconds of traffic), and how long after the fault's end all of it was
made up for. What the run decided, exactly-once among it, is told beside: a number of a run that lost records is none.
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
EVERY_S = 40
TEXT = """
chaosgate: 1
name: recovery-{name}
stack:
  streaming:
    kafka: {{brokers: 3, topics: {{in: 4}}}}
    flink: {{taskmanagers: 3, checkpoint: 1s, job: {{name: keyed-count, parallelism: 2}}}}
load:
  records: {{topic: in, keys: 40, acks: all, read: [out, win], markers: true}}
  rate: 200/s
  users: 4
  timeout: 30s
warm-up: 10s
duration: {duration}s
steps: [{{name: {name}, at: 10s, every: {every}s, until: {until}s, {step}}}]
gates:
  - ledger: {{input: in, output: out, windows: win}}
  - no-unexpected-exit
  - output-recovery: {{limit: 30s}}
seed: 1
"""
STEPS = {
    "kill": "on: {running: OverAggregate}, fault: {kill: {down-for: 5s}}",
    "power": "for: 5s, on: {running: OverAggregate}, fault: power",
    "freeze": "for: 5s, on: {running: OverAggregate}, fault: freeze",
    "jobmanager": "on: leader, fault: {kill: {down-for: 5s}}",
}


def run(name: str, times: int) -> dict[str, Any]:
    """Run the experiment; return its verdict."""
    until_s = 10 + times * EVERY_S
    text = TEXT.format(name=name, step=STEPS[name], every=EVERY_S, until=until_s, duration=until_s + 10)
    with tempfile.TemporaryDirectory(prefix="chaosgate-bench-") as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        argv = [sys.executable, "-m", "chaos.cli", "run", str(file), "--runs", f"{folder}/runs"]
        subprocess.run(argv, cwd=HERE, stdout=subprocess.DEVNULL, check=False)
        there = next(Path(folder).glob("runs/*/verdict.json"), None)
        if there is None:
            return {"verdicts": [], "sentence": "no verdict"}
        found: dict[str, Any] = json.loads(there.read_text(encoding="utf-8"))
        return found


def row(name: str, times: int) -> None:
    """Print one fault's row."""
    verdict = run(name, times)
    told: dict[str, Any] = next((one["numbers"] for one in verdict["verdicts"] if one["gate"] == "output-recovery"), {})
    found = told.get("occurrences", [])
    spreads = [_spread([one[key] for one in found if one[key] is not None]) for key in ("detect_s", "late_s")]
    caught_up = _spread([one["caught_up_s"] for one in found if one["caught_up_s"] is not None])
    cells = "  ".join(f"{cell:>20}" for cell in (*spreads, caught_up))
    print(f"{name:<11}{len(found):>5}  {cells}  {verdict['sentence'][:90]}", flush=True)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else "–"


def main() -> None:
    """Run each kind of fault."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(STEPS)} (all)")
    options.add_argument("--times", type=int, default=10)
    asked = options.parse_args()
    if unknown := set(asked.faults) - set(STEPS):
        options.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    heads = "  ".join(f"{head:>20}" for head in ("shows after, s", "late, s of work", "made up for after, s"))
    print(f"{'fault':<11}{'times':>5}  {heads}  the run")
    for name in asked.faults or STEPS:
        row(name, asked.times)


if __name__ == "__main__":
    main()
