"""Stand-ins for services outside the project, spoken to by the real client libraries."""
