"""GitHub's API: client, App tokens, values, refusals and the limit of concurrent requests."""
