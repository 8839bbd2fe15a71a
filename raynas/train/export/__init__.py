"""Exports of a trained network, each checked against the network before it is kept."""
