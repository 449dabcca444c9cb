"""Floor 2: layers. They know tensors only."""
