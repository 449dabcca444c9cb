"""Floor 9: published checkpoints to ours, by tables."""
