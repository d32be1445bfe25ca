"""Two assets, suites or revisions side by side on one page."""
