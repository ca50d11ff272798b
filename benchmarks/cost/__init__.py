"""Measures what requests cost the processor."""
