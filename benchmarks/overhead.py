"""What a run costs beyond its experiment: wall time minus duration, split by phase.

    python benchmarks/overhead.py [FILE]

Phases come from the recording's own events; "judging and report" is what is left of the command's wall time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chaos.clock import NS
from chaos.model import EventKind
from chaos.recording import Recording

DEFAULT = "experiments/etcd/leader-kill.yaml"


def phases(recording: Recording) -> dict[str, float]:
    """Return seconds by phase, in order."""
    marks = [(e.detail, e.at_ns) for e in recording.events if e.kind is EventKind.PHASE]
    ends = [at for _, at in marks[1:]] + [recording.events[-1].at_ns]
    return {name: (end - at) / NS for (name, at), end in zip(marks, ends, strict=True)}


def main() -> int:
    """Run once and print the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default=DEFAULT, metavar="FILE", help=f"an experiment; else {DEFAULT}")
    file = parser.parse_args().file
    with tempfile.TemporaryDirectory(prefix="chaosgate-bench-") as runs:
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "chaos.cli", "run", file, "--runs", runs], check=False)
        wall = time.monotonic() - began
        recording = Recording.open(next(Path(runs).glob("*/run.json")).parent)
        split = phases(recording)
        duration = recording.experiment.duration_s
    print(f"{'wall':<22}{wall:7.1f} s\n{'experiment':<22}{duration:7.1f} s\n{'overhead':<22}{wall - duration:7.1f} s")
    for name, seconds in split.items():
        print(f"  {name:<20}{seconds:7.2f} s")
    print(f"  {'start, lab, judging, report':<20}{wall - sum(split.values()):7.2f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
