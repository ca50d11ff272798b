"""`./run.sh doctor`."""
