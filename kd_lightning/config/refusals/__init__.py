"""Bad input: what counts as it, and the one line that a command says of it."""
