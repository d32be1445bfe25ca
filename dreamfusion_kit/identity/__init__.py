"""What decides a result, as digests: the code behind each stage, and what each asset asks of it."""
