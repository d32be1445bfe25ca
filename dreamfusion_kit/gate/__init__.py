"""The regression gate: whether quality fell between two revisions, by more than chance."""
