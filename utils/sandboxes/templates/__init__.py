"""Lists the templates that sandboxes start from."""
