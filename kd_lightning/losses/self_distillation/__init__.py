"""Losses of a network that teaches itself: soft labels, others of the class, another view, its deepest layers."""
