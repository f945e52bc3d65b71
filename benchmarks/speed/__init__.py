"""How fast training is, measured side by side: python -m benchmarks.speed --help."""
