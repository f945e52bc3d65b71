"""The mathematics of networks that teach themselves."""
