"""Which cgroup files a record may name: a record is data, and we may be root.

…/chaosgate-cg<8 hex>/<node>/<file>      a node of a lab
…/…pod<uid>[.slice]/<file>               a pod, as the kubelet names it
"""

from __future__ import annotations

import re
from pathlib import Path

from chaos.errors import AgentError

_UID = r"[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32}"


def own_file(text: str, subject: str, *names: str) -> Path:
    """Return a cgroup file of a subject; AgentError if it is no lab's and no pod's: nothing is written there."""
    path, wanted = Path(text), "|".join(map(re.escape, names))
    lab = rf"/chaosgate-cg[0-9a-f]{{8}}/{re.escape(subject)}/({wanted})\Z"
    pod = rf"pod({_UID})(\.slice)?/({wanted})\Z"
    if not (re.search(lab, text) or re.search(pod, text)) or path != path.resolve():
        what = f"no {' or '.join(names)} of {subject}, in a lab or of a pod"
        raise AgentError(f"{path}: {what}; nothing is written there")
    return path
