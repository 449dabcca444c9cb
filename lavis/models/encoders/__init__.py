"""Encoders: frames to patch features."""
