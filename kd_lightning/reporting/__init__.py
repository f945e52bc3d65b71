"""What is shown of runs: pages, tables, figures."""
