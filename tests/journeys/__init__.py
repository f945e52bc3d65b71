"""Whole days of users, as the pages of the docs tell them: from a folder of photos to a file that runs."""
