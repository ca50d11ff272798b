"""Tests of `utils.schedules`."""
