"""The protocol: fixed views, metrics, CLIP R-Precision, and geometry against known shapes."""
