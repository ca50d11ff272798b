"""Serving the application with gunicorn."""
