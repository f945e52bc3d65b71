"""Finished runs and those under way: their folders, their summaries, collections of them, statistics."""
