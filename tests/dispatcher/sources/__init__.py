"""Tests of where a dispatcher gets its tasks from."""
