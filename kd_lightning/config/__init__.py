"""How Hydra composes configs here."""
