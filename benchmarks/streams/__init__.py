"""Measures streams of events."""
