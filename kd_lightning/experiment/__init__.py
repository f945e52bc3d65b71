"""One experiment: what `kd-train` does between a checked config and a run's folder."""
