"""Curricula: what an epoch holds, what is observed, what is kept."""
