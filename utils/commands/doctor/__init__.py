"""The command `./run.sh doctor`: checks of the setup, and how to fix what fails."""
