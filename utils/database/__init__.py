"""Implements the gateway of `database.py`; this package holds the parts both backends share."""
