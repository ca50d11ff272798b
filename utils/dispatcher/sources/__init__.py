"""Give a dispatcher its tasks."""
