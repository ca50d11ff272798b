"""From a task's result to its pull request."""
