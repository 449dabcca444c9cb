"""Floor 6: metrics with three methods: reset, update, compute."""
