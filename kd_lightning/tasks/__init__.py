"""What good means: the metrics of a task, and what its predictions tell."""
