"""Removes what is kept no longer: old results, and what is left behind."""
