"""Serves task polls the usual way, for a comparison: Flask's own server and Supabase's client.

    python -m benchmarks.supabase.usual_backend    (SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY)

Each poll is a select of one row by its id and its user, which is named by a header. Nothing is
verified, logged or limited, so a real backend of this kind needs more time.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from flask import Flask, Response, jsonify, request
from supabase import create_client
from werkzeug.serving import make_server


def build() -> Flask:
    """Return the application."""
    client = create_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_SERVICE_ROLE_KEY"])
    app = Flask(__name__)

    @app.get("/task-status/<int:task_id>")
    def task_status(task_id: int) -> Response:
        user_id = request.headers["X-User-ID"]
        query = client.table("tasks").select("*").eq("id", task_id).eq("user_id", user_id)
        row: Any = query.execute().data[0]
        names = ("id", "status", "prompt", "agent", "repo_url", "created_at", "completed_at")
        return jsonify({"status": "success", "task": {name: row.get(name) for name in names}})

    return app


def main() -> None:
    """Serve until the process is ended; the first line of standard output is the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, build(), threaded=True)
    sys.stdout.write(f"http://127.0.0.1:{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
