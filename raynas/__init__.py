"""raynas: many differentiable architecture searches in parallel, one YAML in, one report out."""

from importlib.metadata import version

__version__ = version("raynas")
