"""Run every benchmark, one after the other, and print what benchmarks/README.md holds. On a quiet machine: 15 minutes.

    python benchmarks/run.py [NAME …]     shaper  checker  generator  overhead
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("shaper", "checker", "generator", "overhead")


def machine() -> str:
    """Return the machine in one line."""
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    load = Path("/proc/loadavg").read_text().split()[0]
    return f"{cores} x {cpu}, {memory:.0f} GiB, kernel {platform.release()}, Python {platform.python_version()}, load {load}"


def main() -> int:
    """Run the chosen benchmarks; return the worst exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    worst = 0
    for name in parser.parse_args().names:
        print(f"\n== {name}: {machine()}", flush=True)
        worst = max(worst, subprocess.run([sys.executable, HERE / f"{name}.py"], cwd=HERE.parent, check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
