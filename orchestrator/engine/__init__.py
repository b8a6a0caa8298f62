"""Accepts messages, executes runs and stores their states, lets anyone follow them, and recovers them after a crash."""
