"""Generators of sample corpora."""
