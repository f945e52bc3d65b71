"""What is found wrong with a config before anything is trained."""
