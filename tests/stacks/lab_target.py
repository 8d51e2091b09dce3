"""A lab without an agent, as a stack sees a target: no faults, and no start but the stack's own."""

from __future__ import annotations


class LabTarget:
    """A lab as the stack sees a target."""

    name = "lab"

    def __init__(self, lab):
        self.lab = lab
        self.start, self.stop, self.processes = lab.start, lab.stop, lab.processes
        self.entered, self.spawn, self.folder = lab.entered, lab.spawn, lab.folder_of

    def topology(self):
        return self.lab.topology
