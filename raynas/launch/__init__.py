"""Launchers: the same trials in this process or on Ray Tune."""
