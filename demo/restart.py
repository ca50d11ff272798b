"""Kills the demonstration's server in the middle of a task, starts it again, and compares."""

from __future__ import annotations

from demo.client import Client
from demo.console import Console
from demo.follow import Follower
from demo.server import Server

KILLED_AT = "Edit"
"""The tool of the scripted agent that has begun when the server is killed."""


def show_restart(
    console: Console, server: Server, client: Client, task_id: int, first_id: int
) -> bool:
    """Kill the server during a task, start it again, and follow the task to its end.

    Tell whether the task has the same diff as the first one, which nothing interrupted.
    """
    follower = Follower(client, console, task_id)
    if follower.follow(stop_at=KILLED_AT) != "running":
        console.line("The task has ended before the server could be killed.", "red")
        return False
    client.close()
    process_id = server.kill()
    console.line(
        f"  kill -9 {process_id}: the server is gone, in the middle of task {task_id}", "red"
    )
    console.progress("  Starting the server again")
    server.restart()
    console.line("  The server runs again, on the same data folder", "green")
    status = follower.follow()
    first, second = (client.get(f"/api/git-diff/{one}")["git_diff"] for one in (first_id, task_id))
    console.line()
    if status != "completed" or first != second:
        console.line(f"Task {task_id} {status}, with another diff than task {first_id}.", "red")
        return False
    console.line(
        f"Task {task_id} {status}. Its diff is the same as that of task {first_id}.", "bold"
    )
    return True
