"""Functions of features."""
