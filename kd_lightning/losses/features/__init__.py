"""Losses on features, most between the layers of two networks."""
