"""Serves the application over HTTP, and locks the data folder."""
