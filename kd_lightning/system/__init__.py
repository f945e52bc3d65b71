"""What the operating system does for a run: files, locks, signals, the processor."""
