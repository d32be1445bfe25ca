"""Meshes that come from files which others made: untrusted, in any shape."""
