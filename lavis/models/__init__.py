"""Floor 5: the one model class, its parts, and the builder that assembles them."""
