"""A regular package, so that ``python -m tests.parity`` finds these tests and not a ``tests`` some dependency ships."""
