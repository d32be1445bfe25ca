"""Recipes and suites: schema, strict loading, canonical form. Never imports torch."""
