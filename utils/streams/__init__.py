"""Streams of events to clients that wait for them (server-sent events)."""
