"""The language of flows: YAML as plain data, and expressions that are read, never executed."""
