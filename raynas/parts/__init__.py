"""The parts a method is composed of: samplers, estimators, updaters and derivations."""
