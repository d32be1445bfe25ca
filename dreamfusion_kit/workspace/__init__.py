"""Makes and edits workspaces: recipes, suites and the DVC pipelines that run them."""
