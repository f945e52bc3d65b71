"""Tables, for pages, terminals and files."""
