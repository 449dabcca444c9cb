"""Floor 8: the training and evaluation loop, its hooks, devices and precision."""
