"""Video readers: one backend a file, behind the contract of ``base.py``."""
