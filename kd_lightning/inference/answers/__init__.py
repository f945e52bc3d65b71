"""What is kept of teachers' answers: verified, and what it tells of candidate teachers."""
