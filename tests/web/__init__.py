"""Tests of the page, clicked through in a real browser."""
