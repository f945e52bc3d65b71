"""A trained student at work: loaded, exported, and asked about files of the user's own."""
