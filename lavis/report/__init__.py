"""Floor 9: self-contained HTML pages of runs."""
