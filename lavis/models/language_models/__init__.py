"""Adapters around stock language models."""
