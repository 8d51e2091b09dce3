"""The embedded target: a lab of namespaces (lab.py), and the faults that can be done there (target.py).

Nothing is imported here: a lab's init and the agent read modules of this package where only the standard library is.
"""
