"""The commands of run.sh beside the server."""
