"""Losses over several networks that learn from one another, all of them at once."""
