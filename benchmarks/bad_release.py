"""How surely is a real bad release held, and a sound one promoted? crash-loop on each version, again and again.

    python benchmarks/bad_release.py [--times 10] [--versions 3.5.1,3.4.23,3.5.35]

etcd 3.5.1 may lose an entry on one member when that member is killed under load (etcd #13766). Each run has a seed of
its own. A sound version takes the experiment's whole length, so all of it takes more than an hour: versions take
turns, and the table so far is printed when it is stopped.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from chaos.model import EventKind, Outcome
from chaos.recording import Recording

FILE = "experiments/etcd/crash-loop.yaml"
HOLD, PROMOTE = 10, 0
EXPECTED = {"3.5.1": HOLD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run came to."""

    code: int
    seconds: float
    kills: int
    puts_per_s: float
    sentence: str


def one(version: str, seed: int) -> Run:
    """Run crash-loop once."""
    with tempfile.TemporaryDirectory(prefix="chaosgate-bench-") as runs:
        argv = [sys.executable, "-m", "chaos.cli", "run", FILE, "--version", f"etcd={version}"]
        began = time.monotonic()
        code, said = finished([*argv, "--seed", str(seed), "--runs", runs])
        seconds = time.monotonic() - began
        verdicts = list(Path(runs).glob("*/verdict.json"))
        if not verdicts:
            return Run(code=code, seconds=seconds, kills=0, puts_per_s=0, sentence=said[-200:])
        sentence = json.loads(verdicts[0].read_text())["sentence"]
        recording = Recording.open(verdicts[0].parent)
        kills = sum(event.kind is EventKind.INJECT for event in recording.events)
        return Run(code=code, seconds=seconds, kills=kills, puts_per_s=puts(recording), sentence=sentence)


def finished(argv: list[str]) -> tuple[int, str]:
    """Run to the end; return exit code and what was said. A run that is stopped heals first, and is waited for."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate()
    except BaseException:  # also Ctrl-C: the run heals what it broke, and only then is its folder taken away
        process.terminate()
        process.communicate()
        raise
    return process.returncode, said


def puts(recording: Recording) -> float:
    """Return acknowledged puts a second from t = 0 to the drain; 0 for a run that did not come so far."""
    phases = {event.detail: event.at_ns for event in recording.events if event.kind is EventKind.PHASE}
    if not {"steady", "drain"} <= phases.keys():
        return 0.0
    began, ended = phases["steady"], phases["drain"]
    samples = recording.samples
    returned = samples["return_ns"].to_numpy(zero_copy_only=False)
    acknowledged = samples["outcome"].to_numpy() == Outcome.OK
    return int((acknowledged & (returned >= began) & (returned <= ended)).sum()) / (ended - began) * 1e9


def table(runs: dict[str, list[Run]]) -> str:
    """Return a Markdown table, a row a version."""
    rows = ["| etcd | judged as it deserves | kills: median (most) | seconds | puts/s |", "|---|---|---|---|---|"]
    for version, ran in runs.items():
        right = sum(run.code == EXPECTED.get(version, PROMOTE) for run in ran)
        verb = "held" if EXPECTED.get(version) == HOLD else "promoted"
        kills, seconds = [run.kills for run in ran], statistics.median(run.seconds for run in ran)
        rate = statistics.median(run.puts_per_s for run in ran)
        counted = f"{statistics.median(kills):.0f} ({max(kills)})"
        rows.append(f"| {version} | {verb} {right} of {len(ran)} | {counted} | {seconds:.0f} | {rate:,.0f} |")
    return "\n".join(rows)


def main() -> int:
    """Print a row a run, then the table; exit 1 if a version was not judged as expected every time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--versions", default="3.5.1,3.4.23,3.5.35")
    options = parser.parse_args()
    runs: dict[str, list[Run]] = defaultdict(list)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    try:
        for seed in range(1, options.times + 1):
            for version in options.versions.split(","):
                run = one(version, seed)
                runs[version].append(run)
                told = f"{run.kills:4} kills  {run.puts_per_s:6.0f} puts/s  {run.sentence[:140]}"
                print(f"{version:<8} seed {seed:<3} exit {run.code:<3} {run.seconds:6.0f} s {told}", flush=True)
    except KeyboardInterrupt:
        print("stopped; so far:")
    finally:
        print("\n" + table(runs))
    wrong = [run for version, ran in runs.items() for run in ran if run.code != EXPECTED.get(version, PROMOTE)]
    return 1 if wrong or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
