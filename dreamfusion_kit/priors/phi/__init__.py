"""VSD's second denoiser, phi: an adapter of the prior, or of a network that another model lends."""
