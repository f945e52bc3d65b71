"""Taps that are found by following one input through a model."""
