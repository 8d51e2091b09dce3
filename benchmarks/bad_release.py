"""How surely is a real bad release held, and a sound one promoted? crash-loop on each version, again and again.

    python benchmarks/bad_release.py [--times 10] [--versions 3.5.1,3.4.23,3.5.35]

etcd 3.5.1 may lose an entry on one member when that member is killed under load (etcd #13766). Each run has a seed of
its own. A sound version takes the experiment's whole four minutes, so all of it takes hours; stop it when you like.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILE = "experiments/etcd/crash-loop.yaml"
HOLD, PROMOTE = 10, 0
EXPECTED = {"3.5.1": HOLD}


def one(version: str, seed: int) -> tuple[int, float, str]:
    """Return exit code, seconds, and the verdict's sentence of one run."""
    with tempfile.TemporaryDirectory(prefix="chaosgate-bench-") as runs:
        argv = [sys.executable, "-m", "chaos.cli", "run", FILE, "--version", f"etcd={version}"]
        began = time.monotonic()
        done = subprocess.run([*argv, "--seed", str(seed), "--runs", runs], capture_output=True, check=False)
        seconds = time.monotonic() - began
        verdicts = list(Path(runs).glob("*/verdict.json"))
        sentence = json.loads(verdicts[0].read_text())["sentence"] if verdicts else done.stdout.decode()[-200:]
    return done.returncode, seconds, sentence


def main() -> int:
    """Print a row a run and a line a version; exit 1 if a version was not judged as expected every time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--versions", default="3.5.1,3.4.23,3.5.35")
    options = parser.parse_args()
    wrong = 0
    for version in options.versions.split(","):
        right = 0
        for seed in range(1, options.times + 1):
            code, seconds, sentence = one(version, seed)
            right += code == EXPECTED.get(version, PROMOTE)
            print(f"{version:<8} seed {seed:<3} exit {code:<3} {seconds:6.0f} s  {sentence[:150]}", flush=True)
        what = "held" if EXPECTED.get(version) == HOLD else "promoted"
        print(f"{version:<8} {what} {right} of {options.times}\n", flush=True)
        wrong += right < options.times
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
