"""Pages: one HTML file for a run or for several."""
