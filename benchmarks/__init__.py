"""The measurements behind `./run.sh bench`: a client that brings its own server."""
