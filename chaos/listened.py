"""Commands whose reader may go away: `chaosgate plan … | head -1`.

What is printed then goes nowhere, and the command goes on to its own end and exit code: an answer that nobody reads to
the last line is none the less the answer. (`run` is another matter: without a reader it heals everything and ends.)
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import IO, Any, cast

import click


class Unheard(click.Command):
    """A command that ends quietly if its standard output is closed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        from chaos.outlet import Outlet  # noqa: PLC0415  # only once a command really runs

        outlet = Outlet(sys.stdout, lambda _: None)
        with redirect_stdout(cast("IO[str]", outlet)):  # typeshed's TextIOBase is no IO[str]
            try:
                return super().invoke(ctx)
            finally:
                outlet.flush()
