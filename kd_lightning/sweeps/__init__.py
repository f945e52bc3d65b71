"""Many runs of one command: isolated jobs, their progress, and an honest selection among them."""
