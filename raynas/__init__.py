"""raynas: many differentiable architecture searches in parallel, one YAML in, one report out."""

__version__ = "0.2.0.dev0"
