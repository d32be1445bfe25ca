"""Families of text-to-image transformers, one file each."""
