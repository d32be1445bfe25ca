"""Surfaces that are optimised as such: how they are represented, coloured and kept smooth."""
