"""The packaged search spaces, one YAML file each."""
