"""The embedded world: objects of known shape, a small prior and a small CLIP."""
