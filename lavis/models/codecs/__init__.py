"""Time codecs: how time is written and read back."""
