"""Losses of a network that teaches itself: by another image of the class, another view, its deepest layers."""
