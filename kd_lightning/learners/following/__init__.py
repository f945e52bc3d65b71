"""What follows the validations of a training: schedules, and losses that see what all learners make of the data."""
