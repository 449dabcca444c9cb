"""Recursive grounding: windows replayed from the answers of each turn."""
