"""Schedules: the moments of a cron form, and the thread that starts tasks when they are due."""
