"""Floor 4: annotation records become ``VideoSample``s."""
