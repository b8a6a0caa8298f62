"""The built-in team: its agents, how a message finds one, the graph that they answer in, and the offline model."""
