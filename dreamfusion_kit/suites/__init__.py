"""Suites as work: what is stale, and the workers that make it."""
