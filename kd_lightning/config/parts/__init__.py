"""Making the objects that a config names."""
