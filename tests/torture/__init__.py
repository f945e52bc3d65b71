"""Runs that are killed, damaged, short of disk, cut off from their ranks, or asked for nonsense: by the dozen."""
