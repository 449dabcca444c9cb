"""Data preparation: the library behind ``process_data``."""
