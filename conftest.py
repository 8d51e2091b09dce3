"""Fixtures of this repository's own tests. The plugin registers itself by its entry point, never here."""

from __future__ import annotations

import hypothesis

pytest_plugins = ["pytester"]

hypothesis.settings.register_profile("shared-machine", deadline=None)  # a busy machine is not a failing test
hypothesis.settings.load_profile("shared-machine")
