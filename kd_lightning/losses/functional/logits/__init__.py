"""Functions of logits."""
