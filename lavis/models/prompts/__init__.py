"""Prompts: how visual tokens and text are laid out."""
