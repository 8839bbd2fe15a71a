"""Cells of the literature, one YAML file each."""
