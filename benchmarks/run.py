"""Run every benchmark in turn, and print what benchmarks/README.md holds. On a quiet machine: five minutes.

python benchmarks/run.py [NAME …]     shaper  checker  ledger  generator  overhead
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("shaper", "checker", "ledger", "generator", "overhead", "start_up")


def machine() -> str:
    """Return the machine in one line."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line]
    cores, cpu = cpuinfo.count("processor\t"), models[0] if models else platform.machine()
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    load = Path("/proc/loadavg").read_text().split()[0]
    software = f"kernel {platform.release()}, Python {platform.python_version()}"
    return f"{cores} x {cpu}, {memory:.0f} GiB, {software}, load {load}"


def main() -> int:
    """Run the chosen benchmarks; return the worst exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    worst = 0
    for name in parser.parse_args().names:
        print(f"\n== {name}: {machine()}", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py"], cwd=HERE.parent, check=False)
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
