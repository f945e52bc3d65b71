"""Figures of a classification."""
