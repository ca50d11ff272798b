"""Measures what the tasks and requests of one user cost another one."""
