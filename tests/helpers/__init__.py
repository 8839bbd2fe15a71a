"""What several test files use: plain implementations, builders of folders, recorded cases."""
