"""The only code that touches a node: what is done, measured and undone there. Standard library only.

    controller ── JSON lines ──▶ serve ─▶ agent
                                            ├─▶ actions/ ─▶ ground: inits, freezers, links, shaper/
                                            ├─▶ journal: the undo, on disk first; replay: of a dead agent's
                                            ├─▶ lease: three dead-men
                                            └─▶ meter: our own packets; raw counts, judged elsewhere

Where it runs is all that differs between targets.
"""
