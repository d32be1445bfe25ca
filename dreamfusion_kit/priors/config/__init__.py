"""What a model's own files say, read in bounds and checked before a library reads them."""
