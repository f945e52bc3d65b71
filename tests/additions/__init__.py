"""What an outsider adds without an edit of this package, each in a folder as they would have it."""
