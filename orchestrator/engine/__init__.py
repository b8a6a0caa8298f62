"""Accepts messages, executes runs, lets clients follow them, and recovers them after a crash."""
