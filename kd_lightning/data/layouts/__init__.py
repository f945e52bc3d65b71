"""Images in other layouts than a folder for each split: one flat folder, a table of files, tar shards, arrow files."""
