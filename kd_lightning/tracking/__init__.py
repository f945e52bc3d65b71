"""What loggers are told, and the environment of a run."""
