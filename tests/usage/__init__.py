"""Tests of usage, budgets and administration."""
