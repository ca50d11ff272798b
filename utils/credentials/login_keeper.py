"""Keeps the login that an agent's program has renewed in the sandbox of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from anyio import to_thread

from database import Database
from utils.agents.access import login_secrets
from utils.agents.logins import renewed_login
from utils.agents.spec import Program
from utils.credentials.logins import replace_login
from utils.credentials.vault import Vault
from utils.errors import DatabaseUnavailable
from utils.models.tasks import Json, Task
from utils.redaction import Redactor

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _RenewedLogin:
    task: Task
    sent: Json = field(repr=False)
    renewed: Json = field(repr=False)


class LoginKeeper:
    """Stores renewed logins of one task, at once or when the database is back."""

    def __init__(self, database: Database, vault: Vault, redactor: Redactor) -> None:
        self._database = database
        self._vault = vault
        self._redactor = redactor
        self._pending: _RenewedLogin | None = None

    async def keep(
        self, task: Task, program: Program | None, sent: Json, files: Mapping[str, bytes]
    ) -> None:
        """Store the login in the files that a run left, if the program has renewed it.

        When the database is unavailable, `store` has to be called later.
        """
        if program is None or program.login_format is None:
            return
        if not (content := files.get(program.login_file)):
            return
        renewed = await to_thread.run_sync(renewed_login, program.login_format, sent, content)
        self._pending = None if renewed is None else _RenewedLogin(task, sent, renewed)
        if renewed is None:
            return
        self._redactor.add(*login_secrets(renewed))
        try:
            await to_thread.run_sync(self.store)
        except DatabaseUnavailable as error:
            log.warning("login not stored yet", action="login.delayed", reason=error.message)

    @property
    def is_pending(self) -> bool:
        """True when a renewed login has to be stored later."""
        return self._pending is not None

    def store(self) -> None:
        """Store what is pending. Blocks. Raises `DatabaseUnavailable`."""
        if (pending := self._pending) is None:
            return
        task = pending.task
        is_stored = replace_login(
            self._database, self._vault, task.user_id, task.agent, pending.sent, pending.renewed
        )
        self._pending = None
        if is_stored:
            log.info("renewed login stored", action="login.renewed")
        else:
            log.info("renewed login dropped", action="login.dropped")
