"""What a training needs to be taken up again: checkpoints, and an end that leaves one."""
