"""Losses on the relations between the samples of a batch, or of the training set."""
