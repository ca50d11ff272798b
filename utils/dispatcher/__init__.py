"""Queues, runs, cancels and recovers tasks on one event loop."""
