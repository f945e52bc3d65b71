"""What features that a network has learned are worth on other data: a linear classifier on them."""
