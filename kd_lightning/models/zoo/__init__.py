"""This package's own models."""
