"""What an experiment takes from the store, or puts there."""
