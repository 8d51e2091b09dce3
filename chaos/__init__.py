"""chaosgate decides whether a new version of a stateful system may be promoted."""

__version__ = "0.1.0"
