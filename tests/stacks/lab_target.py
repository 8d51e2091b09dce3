"""A lab without an agent, as a stack sees a target: no faults, and no start but the stack's own."""

from __future__ import annotations

import contextlib

import pytest

from chaos.errors import CapabilityError
from chaos.targets.netns.lab import Lab, NodeSpec


class LabTarget:
    """A lab as the stack sees a target."""

    name = "lab"

    def __init__(self, lab):
        self.lab = lab
        self.start, self.stop, self.processes = lab.start, lab.stop, lab.processes
        self.entered, self.spawn, self.folder = lab.entered, lab.spawn, lab.folder_of

    def topology(self):
        return self.lab.topology


@contextlib.contextmanager
def opened(stack, folder):
    """A target with the nodes that the stack wants; nothing is started on them. Its lab lies below `folder`."""
    try:
        lab = Lab.open([NodeSpec(name=n.name, role=n.role) for n in stack.nodes()], base=folder / "labs")
    except CapabilityError as error:
        pytest.fail(f"these tests need a lab: {error}")
    with lab:
        yield LabTarget(lab)
