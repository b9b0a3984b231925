"""Suites that every make of a part must pass. Subclass one, give it a fixture, and run pytest."""
