"""The node functions of the team's graph, one kind per file."""
