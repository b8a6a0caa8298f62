"""The built-in team: its agents, the routing of messages, the graph, and the offline model."""
