"""Sweeps as plain data: resolving a file to trials, the folder they live in, ranking them."""
