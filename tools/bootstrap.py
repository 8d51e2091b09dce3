"""Everything that the README's two commands need, set up once; a second call costs a fraction of a second.

    .venv ◀── pip install -e .[dev]      when pyproject.toml has changed
    Debian packages                       only those whose program is missing, only as root
    etcd                                  built or unpacked into the cache outside the repository: the default version,
                                          for the tests all that the shipped experiments use
    Kafka, Flink                          their jars by Maven and pip, and the class archives that they start from
    Kubernetes                            for the tests: the lab's servers, built from Go modules, five to nine minutes

Runs on a bare Python ≥ 3.11 with the standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TELLING = re.compile(r"(error|warning|[ew]):", re.IGNORECASE)  # pip's and apt's own marks; the rest is around them
# program, or any of several → Debian packages that bring it
RUN_PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "unshare": "util-linux",
    "java": "default-jre-headless",
    "mvn": "maven",
}
TEST_PROGRAMS = {
    "chromium chromium-browser google-chrome": "chromium fonts-dejavu-core",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "zstd": "zstd",
    "setpriv": "util-linux",
    "openssl": "openssl",
    "ping": "iputils-ping",
}


def say(text: str) -> None:
    """Print progress at once."""
    print(f"setup: {text}", flush=True)  # noqa: T201  # the one voice of a script that runs before anything is installed


def fail(what: str, why: str, would_do: str) -> SystemExit:
    """Return the exit with a message that says what, why and what would do."""
    return SystemExit(f"setup: {what}\n  why: {why}\n  what would do: {would_do}")


def run(argv: list[str], what: str, would_do: str) -> None:
    """Run a command quietly; on failure stop with what it said of errors, else with the tail of what it said."""
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        telling = list(dict.fromkeys(line for line in said if TELLING.match(line))) or said
        raise fail(f"{what} failed (exit {done.returncode})", "\n    ".join(telling[-8:]), would_do)


def fingerprint() -> str:
    """Return what the virtual environment depends on."""
    stuff = (ROOT / "pyproject.toml").read_bytes() + sys.version.encode() + str(ROOT).encode()
    return hashlib.sha256(stuff).hexdigest()[:16]


def python_packages() -> None:
    """Make .venv and install the project into it, if pyproject.toml or Python changed."""
    stamp = VENV / "installed"
    if stamp.exists() and stamp.read_text() == fingerprint():
        return
    say("Python packages into .venv (a minute or two the first time)")
    make_venv()
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "-e", ".[dev]"], "pip install", "check that this machine reaches a Python package index")
    stamp.write_text(fingerprint())


def make_venv() -> None:
    """Make .venv, with pip in it."""
    install = "install Python's venv module (Debian: python3-venv)"
    try:
        import venv  # noqa: PLC0415  # distributions may package it apart

        venv.create(VENV, with_pip=True)
    except ImportError as error:
        raise fail(".venv could not be made", str(error), install) from error
    except subprocess.CalledProcessError as error:
        said = (error.output or b"").decode(errors="replace").strip() or str(error)
        why = "\n    ".join(said.splitlines()[-3:])
        raise fail(".venv could not be made", why, f"if it is ensurepip that is missing, {install}") from error
    except (OSError, ValueError) as error:
        raise fail(".venv could not be made", str(error), f"make room for a folder at {VENV}") from error


def debian_packages(programs: dict[str, str]) -> None:
    """Install the packages of missing programs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [p for names, p in programs.items() if not any(shutil.which(n, path=path) for n in names.split())]
    missing = sorted({package for packages in lacking for package in packages.split()})
    if not missing:
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise fail(
            f"missing programs, from the packages {', '.join(missing)}",
            "not root, or not a Debian system",
            f"as root: {' '.join(install)} (or your system's like)",
        )
    say(f"Debian packages: {' '.join(missing)}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run(["apt-get", "update", "-qq"], "apt-get update", "check that this machine reaches a Debian mirror")
    run(install, "apt-get install", "install these packages by hand")


def etcd(*, every: bool) -> None:
    """Provide etcd in the cache: the default version must be had; without another one only what uses it fails."""
    if every and provided("etcd"):
        return
    if not provided("etcd", "default"):
        raise SystemExit(2)
    if every:
        say("going on without the other versions: only what uses them will fail")


def optional(stack: str) -> None:
    """Provide Kafka or Flink in the cache: without it only what uses it fails."""
    if not provided(stack):
        say(f"going on without {stack.capitalize()}: only what uses it will fail")


def kubernetes() -> None:
    """Provide the Kubernetes lab in the cache: without it only what boots one fails."""
    if not told("chaos.targets.kubernetes.lab.programs"):
        say("going on without the Kubernetes lab: only what boots it will fail")


def provided(stack: str, *versions: str) -> bool:
    """Say whether these versions of a stack, or all, could be put into the cache."""
    return told(f"chaos.stacks.{stack}.versions", *versions)


def told(module: str, *words: str) -> bool:
    """Say whether a module of ours that provides something did; it tells what happens."""
    argv = [str(VENV / "bin" / "python"), "-m", module, *words]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode == 0


def main() -> None:
    """Set up for running, or with --for-tests for every test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for-tests", action="store_true", help="also what only the tests need")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  # an older Python is what this is to notice
        raise fail(f"Python {sys.version.split()[0]} is too old", "chaosgate needs 3.11", "make PYTHON=python3.11 …")
    debian_packages(RUN_PROGRAMS | (TEST_PROGRAMS if options.for_tests else {}))
    python_packages()
    etcd(every=options.for_tests)
    optional("kafka")
    optional("flink")
    if options.for_tests:
        kubernetes()
    if sys.stdout.isatty():
        say("next: . .venv/bin/activate && chaosgate doctor")


if __name__ == "__main__":
    main()
