"""Figures, as Plotly has them."""
