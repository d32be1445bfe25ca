"""What determines a result, as digests: the code of each stage, and the inputs of each asset."""
