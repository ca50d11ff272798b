"""Implements the operations of the gateway with SQL, one file for each subject."""
