"""Fakes of external services. Tests talk to them through the real client libraries."""
