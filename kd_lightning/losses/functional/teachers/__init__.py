"""Losses of several teachers, or of one that is made several: what each teacher weighs, and their combination."""
