"""Defines the parts of the database gateway, one file for each subject."""
