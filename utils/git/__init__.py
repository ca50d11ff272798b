"""Git commands: environment, credentials, output, failures, repository URLs and branch names."""
