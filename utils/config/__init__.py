"""Every setting of the deployment; the one place that reads the environment."""
