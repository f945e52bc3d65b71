"""Losses of several teachers, or of one that is made several."""
