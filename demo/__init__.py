"""The demonstration behind `./run.sh demo`: an HTTP client that brings its own server.

It imports nothing of the server, so what it does any client can do.
"""
