"""Annotation formats: one a file; each turns a record into ``VideoSample``s."""
