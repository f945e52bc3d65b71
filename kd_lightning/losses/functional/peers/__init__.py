"""Functions of the outputs of several networks that learn from one another."""
