"""A suite's gallery: one page that shows what was made, how good it is and where it comes from."""
