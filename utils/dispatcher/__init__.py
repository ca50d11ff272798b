"""Which task runs when, on the one event loop."""
