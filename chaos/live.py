"""What a person sees while a run goes on: one live line block on a terminal, a line now and then elsewhere.

leader-kill   fault   ━━━━━━━━━━━━──────  18 s left   1,204/s   p99 14 ms   in force: kill
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

    from chaos.stage import Progress

PLAIN_EVERY_S = 10.0
BEFORE = ("set-up", "load", "warm-up")


class LiveProgress:
    """Shows a run's progress on `console`; call it with each Progress."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None
        self._last: tuple[str, str, tuple[str, ...]] = ("", "", ())
        self._said_at = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show it: at once on a terminal; elsewhere when the phase or the faults change, and every ten seconds."""
        if self._live is not None:
            self._live.update(panel(progress))
            return
        key = (progress.experiment, progress.phase, progress.in_force)
        if key != self._last or time.monotonic() - self._said_at > PLAIN_EVERY_S:
            self._last, self._said_at = key, time.monotonic()
            self._console.print(plain_line(progress), markup=False, highlight=False, soft_wrap=True)


def remaining(progress: Progress) -> str:
    """Return the countdown as text."""
    if progress.at_s is None:
        return ""
    if progress.at_s < 0:
        return f"starts in {-progress.at_s:.0f} s"
    return f"{max(0.0, progress.duration_s - progress.at_s):.0f} s left"


def load_text(progress: Progress) -> str:
    """Return rate, p99 and errors of the last second as text."""
    load = progress.load
    if load is None:
        return ""
    p99 = "" if load.p99_s is None else f"p99 {load.p99_s * 1000:.0f} ms"
    return "   ".join(part for part in (f"{load.rate_per_s:,.0f}/s", p99) if part)


def plain_line(progress: Progress) -> str:
    """Return one line without colours."""
    force = f"in force: {', '.join(progress.in_force)}" if progress.in_force else ""
    parts = (
        f"{progress.experiment:<26} {progress.phase:<11}",
        remaining(progress),
        load_text(progress),
        force,
        progress.note,
    )
    return "   ".join(part for part in parts if part)


def panel(progress: Progress) -> RenderableType:
    """Return the block shown on a terminal."""
    line = Table.grid(padding=(0, 2))
    for width in (26, 11, 30, 14, 22, None):
        line.add_column(min_width=width)
    done = 0.0 if progress.at_s is None else min(max(progress.at_s, 0.0), progress.duration_s)
    line.add_row(
        Text(progress.experiment, style="bold"),
        Text(progress.phase, style="cyan"),
        ProgressBar(total=progress.duration_s or 1.0, completed=done, width=30),
        Text(remaining(progress)),
        Text(load_text(progress)),
        Text(", ".join(progress.in_force), style="bold yellow"),
    )
    return Group(line, Text(progress.note, style="dim")) if progress.note else line
