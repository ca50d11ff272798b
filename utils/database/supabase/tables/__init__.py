"""Implements the operations of the gateway over REST, one file for each subject."""
