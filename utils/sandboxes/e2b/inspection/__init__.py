"""Looks into cloud sandboxes for their users."""
