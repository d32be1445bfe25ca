"""Frozen text-to-image diffusion models behind one interface, and where they come from."""
