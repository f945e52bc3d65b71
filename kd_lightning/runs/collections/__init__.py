"""Runs that are shown together: read, grouped by configuration, compared over seeds."""
