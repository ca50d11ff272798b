"""Runs the server with two Supabase requests for each status poll, for a comparison.

It reads the user before the task, like a backend that authenticates against the database. It is
otherwise the same server.
"""

from __future__ import annotations

from main import begin_stop_app, create_app, stop_app
from utils.config.settings import Settings
from utils.database.supabase.database import SupabaseDatabase, open_supabase_database
from utils.models.tasks import Task
from utils.redaction import Redactor
from utils.server.web_server import serve
from utils.telemetry import configure_logging


class TwoRequests(SupabaseDatabase):
    """A Supabase gateway that sends two requests for each status poll."""

    def get_task_status(self, user_id: str, task_id: int) -> Task:
        """Read the user, then return the row; see `Database`."""
        self.get_user(user_id)
        return super().get_task_status(user_id, task_id)


if __name__ == "__main__":
    settings = Settings()
    # The first line of standard output is the address.
    configure_logging(settings, Redactor().redact)
    usual = open_supabase_database(settings)
    gateway = TwoRequests(usual.supabase, usual.server)
    serve(settings, lambda: create_app(settings, gateway), begin_stop_app, stop_app)
