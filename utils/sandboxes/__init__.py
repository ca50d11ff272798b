"""Where tasks run: the protocol, local folders, E2B's cloud."""
