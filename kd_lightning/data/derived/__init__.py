"""What data modules of the user's own do not say of themselves, derived from their loaders."""
