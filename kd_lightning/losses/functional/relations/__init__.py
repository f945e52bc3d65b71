"""Functions of the relations between samples."""
