"""Weights of models: read from whatever file holds them, written with a checksum."""
