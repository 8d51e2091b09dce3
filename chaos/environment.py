"""The environment of the processes that we start: ours, without the variables that passwords were read from.

    password_in("ETCD_PASSWORD") ─▶ hide("ETCD_PASSWORD") ─▶ of_children(): a lab's init and all below it, the agent
                                                             and its meter, the generators

Who may read /proc/<pid>/environ of a process can read what it started with, for as long as it lives: proc(5). None of
ours needs a password there.
"""

from __future__ import annotations

import os

_HIDDEN: set[str] = set()  # grows only: a name that was a secret once is passed on to nobody in this process


def hide(variable: str) -> None:
    """Keep a variable from all processes that are started from now on."""
    _HIDDEN.add(variable)


def of_children(**more: str) -> dict[str, str]:
    """Return what a process is started with; `more` is added, or takes the place of ours."""
    return {name: value for name, value in os.environ.items() if name not in _HIDDEN} | more
