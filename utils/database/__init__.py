"""The gateway behind `database.py`: what both backends share."""
