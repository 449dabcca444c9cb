"""Localizers: how often, and on what, the model is asked."""
