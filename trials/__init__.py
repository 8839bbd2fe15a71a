"""The packaged trials, one sweep file each."""
