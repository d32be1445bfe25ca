"""The exam: fixed views, CLIP R-Precision, and geometry against known shapes."""
