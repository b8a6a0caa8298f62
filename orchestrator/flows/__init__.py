"""Flows that users define: data that is checked once, never code that is run."""
