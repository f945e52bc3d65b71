"""A training in several processes: launched, its batches shared, what one does for all."""
