"""The processes that a server consists of where `HTTP_PROCESSES` is above 1."""
