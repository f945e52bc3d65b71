"""The networks of an experiment, made from its config."""
