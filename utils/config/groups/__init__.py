"""Defines the settings, one file for each subject."""
