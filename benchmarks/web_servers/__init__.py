"""Compares this project's web server with others."""
