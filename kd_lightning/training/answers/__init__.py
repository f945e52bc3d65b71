"""What a teacher answers, kept for all runs: to each view of an image, and about all training samples as they are."""
