"""Trackers: what a trial spooled, sent to MLflow."""
