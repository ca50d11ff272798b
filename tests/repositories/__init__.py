"""Tests of tasks that work in several repositories."""
