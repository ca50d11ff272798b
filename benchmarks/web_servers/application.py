"""Builds the application as other web servers expect it: `wsgi`, and `asgi` on the same threads.

The parts that do not belong to a web server are those of `utils.server.web_server.serve`.
"""

from __future__ import annotations

import gc
from typing import Any

from main import create_app
from utils.config.startup import read_settings
from utils.server.web_server import allow_open_files

_settings = read_settings()
allow_open_files(_settings)
wsgi = create_app(_settings)
gc.freeze()


def __getattr__(name: str) -> Any:
    if name != "asgi":
        raise AttributeError(name)
    from a2wsgi import WSGIMiddleware  # installed for the one server that needs it

    return WSGIMiddleware(wsgi, workers=_settings.request_threads)
