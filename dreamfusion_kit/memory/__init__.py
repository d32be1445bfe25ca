"""How much memory an optimisation needs, part by part, before it starts."""
