"""Everything that the README's two commands need, set up once; a second call costs a fraction of a second.

    .venv ◀── pip install -e .[dev]      when pyproject.toml has changed
    Debian packages                       only those whose program is missing, only as root
    etcd                                  built or unpacked into the cache outside the repository

Runs on a bare Python ≥ 3.11 with the standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# program → Debian package that brings it
RUN_PROGRAMS = {"ip": "iproute2", "nft": "nftables", "iptables": "iptables", "unshare": "util-linux"}
TEST_PROGRAMS = {
    "chromium": "chromium fonts-dejavu-core",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "zstd": "zstd",
    "setpriv": "util-linux",
    "openssl": "openssl",
}


def say(text: str) -> None:
    """Print progress at once."""
    print(f"setup: {text}", flush=True)  # noqa: T201  # the one voice of a script that runs before anything is installed


def fail(what: str, why: str, would_do: str) -> SystemExit:
    """Return the exit with a message that says what, why and what would do."""
    return SystemExit(f"setup: {what}\n  why: {why}\n  what would do: {would_do}")


def run(argv: list[str], what: str, would_do: str) -> None:
    """Run a command quietly; on failure stop with the tail of what it said."""
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise fail(f"{what} failed (exit {done.returncode})", tail, would_do)


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
    try:
        venv.create(VENV, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise fail(
            ".venv could not be made", str(error), "install Python's venv module (Debian: python3-venv)"
        ) from error
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "-e", ".[dev]"], "pip install", "check that this machine reaches a Python package index")
    stamp.write_text(fingerprint())


def debian_packages(programs: dict[str, str]) -> None:
    """Install the packages of missing programs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted(
        {p for program, packages in programs.items() if not shutil.which(program, path=path) for p in packages.split()}
    )
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


def etcd(versions: list[str]) -> None:
    """Provide etcd in the cache; the module prints its own progress."""
    argv = [str(VENV / "bin" / "python"), "-m", "chaos.stacks.etcd.versions", *versions]
    done = subprocess.run(argv, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def main() -> None:
    """Set up for running, or with --for-tests for every test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for-tests", action="store_true", help="also what only the tests need")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  # an older Python is what this is to notice
        raise fail(f"Python {sys.version.split()[0]} is too old", "chaosgate needs 3.11", "make PYTHON=python3.11 …")
    debian_packages(RUN_PROGRAMS | (TEST_PROGRAMS if options.for_tests else {}))
    python_packages()
    etcd([] if options.for_tests else ["default"])


if __name__ == "__main__":
    main()
