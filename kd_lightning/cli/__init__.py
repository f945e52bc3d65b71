"""Commands: how they read what was typed, and say what is wrong."""
