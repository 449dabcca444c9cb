"""Multiple-choice questions: how they are written, which option an answer names, what benchmarks report of it."""
