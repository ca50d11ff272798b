"""Tests of groups of tasks, over HTTP with real sandboxes."""
