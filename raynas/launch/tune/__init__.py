"""Trials on Ray Tune: everything that knows Ray."""
