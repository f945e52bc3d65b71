"""Training a module, measuring networks, and what is kept of both for other runs."""
