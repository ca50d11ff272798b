"""Tests of the service of sandboxes."""
