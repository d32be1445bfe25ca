"""Where a model's files come from: the hub, a folder or one file, each pinned by its hash."""
