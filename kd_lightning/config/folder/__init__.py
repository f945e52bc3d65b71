"""The config of a run in its folder, and what is read from it."""
