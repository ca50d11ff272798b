"""A server of several processes: the one that starts and looks after the others, and its link."""
