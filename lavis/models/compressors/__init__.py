"""Compressors: patch features to the visual tokens a language model reads."""
