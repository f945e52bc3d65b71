"""A network that learns to teach, from how its student does after a step."""
