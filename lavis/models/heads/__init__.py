"""Heads: scores over frames beside the language model."""
