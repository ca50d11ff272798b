"""The demonstration behind `./run.sh demo`: an HTTP client that starts its own server.

It imports nothing from the server, so any client can do the same.
"""
