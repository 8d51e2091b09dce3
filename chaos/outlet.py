"""Standard output that may lose its reader: what is printed then goes nowhere, and the run is told to end.

    console ─▶ Outlet ─▶ stdout        `chaosgate run … | head`: the reader goes, EPIPE
                  └── lost ─▶ flags    a closed terminal: EIO

An exception from a print in mid-fault would stop the thread that heals. So a loss is a flag, like a signal.
"""

from __future__ import annotations

import io
import os
from typing import IO, TYPE_CHECKING, TextIO

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable


LOG_COLUMNS = 200


def console_on(stream: IO[str]) -> Console:
    """Return a console: as wide as a terminal is, and so wide in a log that no path is broken."""
    return Console(file=stream, width=None if stream.isatty() else LOG_COLUMNS)


class Outlet(io.TextIOBase):
    """Writes to `stream`; the first write that fails calls `lost` with the reason, and the rest is discarded."""

    def __init__(self, stream: TextIO, lost: Callable[[str], None]) -> None:
        self._stream, self._lost = stream, lost

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a plain attribute where CPython has a property
        """The stream's own."""
        return self._stream.encoding

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Tell whether a terminal listens."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str, /) -> int:
        """Write, or discard if nobody listens."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or discard if nobody listens."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Turn the descriptor to nowhere: what the stream still holds is flushed there when the program ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._lost(f"a lost standard output ({error.strerror})")
