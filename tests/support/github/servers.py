"""Starts servers with webhooks on one data folder, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

from main import create_app, stop_app
from tests.conftest import JWT_SECRET
from tests.fakes.github.service import FakeGitHub
from tests.support.github.app import (
    BOT_USER,
    PAGE,
    STARTS_TASKS,
    Caller,
    WebhookSender,
    services_of,
)
from utils.config.settings import Settings


@dataclass
class Servers:
    """Starts servers on one data folder, one after the other."""

    github: FakeGitHub
    folder: Path
    app: Flask | None = None

    def start(self, *, works: bool = False, **changes: Any) -> WebhookSender:
        """Start a server in place of the last one; unless it works, its tasks stay queued."""
        self.stop()
        settings = STARTS_TASKS | {
            "public_url": PAGE,
            "github_api_url": self.github.api_url,
            "data_dir": self.folder,
            "jwt_secret": JWT_SECRET,
            "mirror_max_bytes": 0,
        }
        self.app = create_app(Settings.model_validate(settings | changes))
        if not works:
            services_of(self.app).dispatcher.pause()
        if not services_of(self.app).database.list_projects(BOT_USER):
            Caller(self.app, BOT_USER).project(self.github)
        return WebhookSender(self.app)

    def stop(self) -> None:
        if self.app is not None:
            stop_app(self.app)
        self.app = None
