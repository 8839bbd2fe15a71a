"""Stages of a search that is more than one phase, a module per strategy."""
