"""One file a report: a pure function of a recording and its judgement. Adding one: a file, and a line in REPORTS.

A stranger's package adds one by the entry point group `chaosgate.reports`; a name that is taken is an error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from chaos.registry import Table
from gates.judge import as_data
from reports import console, html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.ports import Report
    from chaos.recording import Recording
    from gates.judge import Judgement


def _json(recording: Recording, judgement: Judgement) -> str:
    """Return the judgement and what run.json says, for other programs."""
    return json.dumps({"judgement": as_data(judgement), "run": recording.run}, indent=1, ensure_ascii=False)


OWN: Mapping[str, Report] = {"html": html.render, "console": console.render, "json": _json}

REPORTS: Mapping[str, Report] = Table(OWN, "chaosgate.reports")
