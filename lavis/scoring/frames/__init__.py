"""Scores of frames: smoothing, thresholds, and what they find."""
