"""An ordinary user's run: the same command once more, as root of a user namespace of its own.

    chaosgate run (uid 1000) ── exec ──▶ unshare --user --map-root-user --net ──▶ chaosgate run (uid 0, there)

There is one code path, with fewer capabilities; `--net` because a thread that enters a node's network can't go back to
the machine's, which belongs to another user namespace. `plan` and `doctor` go there too: else they would speak of
another place than the one where the run will be.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from chaos.errors import CapabilityError, UsageError


def become_root_somewhere(target: str) -> None:
    """As an ordinary user, go on as root of a user namespace of our own, where the lab can be made."""
    if target != "netns" or os.geteuid() == 0:
        return
    unshare = shutil.which("unshare", path=os.environ.get("PATH", "") + ":/usr/bin")
    if unshare is None:
        raise UsageError("not root, and no `unshare` on PATH: install util-linux, or run as root")
    inside = [unshare, "--user", "--map-root-user", "--net"]
    tried = subprocess.run([*inside, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise CapabilityError(
            f"not root, and no user namespace can be made here ({tried.stderr.strip()}): run as root, or enable "
            "them, e.g. kernel.unprivileged_userns_clone=1; `chaosgate doctor` says what else is missing"
        )
    environment = {**os.environ, "CHAOSGATE_REAL_UID": str(os.getuid())}
    argv = [*inside, sys.executable, *sys.orig_argv[1:]]  # not `-m`: that would put this folder's packages before ours
    os.execve(unshare, argv, environment)  # noqa: S606  # the same command, as root of a namespace


def as_run_would(target: str) -> str:
    """Go on where a run would be; return why it would be refused, for who only looks and goes on here; "": it runs."""
    try:
        become_root_somewhere(target)
    except UsageError as refused:
        return str(refused)
    return ""
