"""Pull requests from the results of tasks."""
