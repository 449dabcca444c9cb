"""Scoring protocols: one a file; each turns answers and truth into the figures of one benchmark."""
