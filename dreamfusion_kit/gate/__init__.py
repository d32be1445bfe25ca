"""The regression gate: has quality fallen between two revisions, by more than chance?"""
