"""What an experiment writes into its run's folder, and reads from there."""
