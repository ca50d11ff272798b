"""Clone, run the agent, capture the changes. Knows no database."""
