"""The README and the pages of docs/: what they show works, what they link to is there."""
