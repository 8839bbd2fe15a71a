"""Adapters to others' search code, each for a checkout that the user has; none of that code is here."""
