"""Graphs to serve: loads users' files as members of their projects, and maps requests to input."""
