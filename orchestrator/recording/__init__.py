"""Turns what graphs do into events, adds events up to what stands, and writes them into the log."""
