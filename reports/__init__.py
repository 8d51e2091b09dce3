"""One file a report: a pure function of a recording and its judgement. Adding one: a file, and a line in REPORTS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from chaos.recording import plain
from reports import console, html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.recording import Recording
    from gates.judge import Judgement


class Render(Protocol):
    """Draws a judged recording."""

    def __call__(self, recording: Recording, judgement: Judgement) -> str:
        """Return the report's text."""
        ...


def _json(recording: Recording, judgement: Judgement) -> str:
    """Return the judgement and what run.json says, for other programs."""
    return json.dumps({"judgement": plain(judgement), "run": recording.run}, indent=1, ensure_ascii=False)


REPORTS: Mapping[str, Render] = {"html": html.render, "console": console.render, "json": _json}
