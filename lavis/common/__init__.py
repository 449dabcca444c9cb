"""Floor 0: registry, configuration, checkpoints, logging, input/output. Imports nothing else of the package."""
