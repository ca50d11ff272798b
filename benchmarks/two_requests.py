"""The server as it would be if a status poll asked Supabase twice, for a comparison.

It looks for the user first and then for the task, as a backend does that asks the database who is
calling. Everything else is the server as it is.
"""

from __future__ import annotations

from main import create_app, pause_app, stop_app
from utils.config.settings import Settings
from utils.database.supabase.database import SupabaseDatabase, open_supabase_database
from utils.models.tasks import Task
from utils.server.gunicorn_server import serve


class TwoRequests(SupabaseDatabase):
    """A gateway whose polls take two requests."""

    def get_task_status(self, user_id: str, task_id: int) -> Task:
        """See `Database`."""
        self.get_user(user_id)
        return super().get_task_status(user_id, task_id)


if __name__ == "__main__":
    settings = Settings()
    usual = open_supabase_database(settings)
    gateway = TwoRequests(usual.supabase, usual.server)
    serve(settings, lambda: create_app(settings, gateway), pause_app, stop_app)
