"""Judges rate a model's answer against a reference answer; each file registers one under its name."""
