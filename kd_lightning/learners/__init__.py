"""Several learners in one fit: what each sees, minimises, draws, steps and is measured by, as if it were alone."""
