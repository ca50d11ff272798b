"""The environment of a project: what its sandboxes have before the agent starts."""
