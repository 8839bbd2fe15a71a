"""Training protocols as the field uses them, one YAML file each."""
