"""`chaosgate heal`: undo what dead runs left, and sweep their folders and cgroups.

labs/<id>/ ─ owner's lock held? ─yes─▶ left alone
                    │ no
                    ▼
     replay the undo journal ─▶ sweep cgroups and folder
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.places import labs
from chaos.targets.netns.sweep import sweep, trust
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
    if not base.is_dir():
        say("nothing to heal")
        return 0
    undone = heal_leftovers(base)
    swept = sweep(base)
    for line in undone:
        say(f"undone: {line}")
    for lab in swept.labs:
        say(f"removed: lab {lab}")
    for group in swept.groups:
        say(f"removed: cgroup {group}")
    for failure in swept.failed:
        say(f"not removed: {failure}")
    if not (undone or swept.labs or swept.groups or swept.failed):
        say("nothing to heal")
    return DIRTY if swept.failed else 0
