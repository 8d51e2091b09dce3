"""`chaosgate heal`: undo what dead runs left, and sweep their folders and cgroups.

labs/<id>/ ─ owner's lock held? ─yes─▶ left alone
                    │ no
                    ▼
     replay the undo journal ─▶ sweep cgroups and folder

chaosgate-<id>/ ─ a cgroup, its lab's folder gone ─ a process holds its lock, or is in it? ─no─▶ removed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.places import labs
from chaos.targets.netns import cgroups
from chaos.targets.netns.sweep import sweep, sweep_orphans, trust
from chaos.targets.netns.target import heal_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

DIRTY = 13


def heal_all(say: Callable[[str], None]) -> int:
    """Heal and sweep; return 0, or 13 if something would not go.

    DirtyError if an undo failed; UsageError if the folder of labs is another user's.
    """
    base = labs()
    trust(base)
    undone = heal_leftovers(base)
    swept, orphans = sweep(base), sweep_orphans(base, cgroups.parents())
    failed = (*swept.failed, *orphans.failed)
    for line in undone:
        say(f"undone: {line}")
    for lab in swept.labs:
        say(f"removed: lab {lab}")
    for group in swept.groups:
        say(f"removed: cgroup {group}")
    for group in orphans.groups:
        say(f"removed: cgroup {group}, of a lab whose folder is gone")
    for failure in failed:
        say(f"not removed: {failure}")
    if not (undone or swept.labs or swept.groups or orphans.groups or failed):
        say("nothing to heal")
    return DIRTY if failed else 0
