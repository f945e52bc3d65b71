"""The commands: thin, one `main` each."""
