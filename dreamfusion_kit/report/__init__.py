"""A suite's gallery: one page with the results, their quality and their provenance."""
