"""Serves the application with gunicorn and locks the data folder."""
