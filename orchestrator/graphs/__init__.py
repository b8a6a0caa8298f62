"""Graphs to serve: loads users' files as members of their projects, and says what a request gives a graph."""
