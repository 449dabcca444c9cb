"""Floor 7: tasks join a model's predictions with metrics."""
