"""Holds the endpoints of subjects whose file names no client or document fixes."""
