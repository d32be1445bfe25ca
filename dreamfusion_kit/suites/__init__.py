"""Suites as work to do: what is stale, and workers that make it."""
