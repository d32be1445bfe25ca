"""From a field to a textured triangle mesh and its files."""
