"""Asks the task engine of a PostgreSQL database; its functions are those of migration 0020."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    Integer,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from utils.database.engine_schema import OLDEST, require_engine
from utils.database.rows import engine_beat, engine_run, now
from utils.database.schema import servers, workers
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.types import Document, UserId
from utils.models.engine import EngineBeat, EngineRun, Worker

WORKER_RETENTION = timedelta(days=1)
"""Time after which a worker that is not seen any more is forgotten."""

_public = func.public


def _names(values: Sequence[str]) -> Any:
    return bindparam(None, list(values), ARRAY(Text))


class TaskEngineMethods(SqlMethods):
    """Methods for the task engine; not to be called where `is_shared` is False."""

    def use_engine(self, most: int | None) -> None:
        """See `Database`."""
        engine = self._use_engine(most)
        if most is not None:
            require_engine(engine["version"])

    @writing
    def _use_engine(self, connection: Connection, most: int | None) -> Any:
        limit, oldest = bindparam(None, most, Integer), bindparam(None, OLDEST, ARRAY(Integer))
        return _value(connection, _public.engine_use(limit, oldest, type_=Document))

    @writing
    def engine_admit(self, connection: Connection, user_id: str | None = None) -> int:
        """See `Database`."""
        admit = _public.engine_admit(bindparam(None, user_id, UserId))
        return int(_value(connection, admit))

    @writing
    def engine_claim(
        self, connection: Connection, lease_seconds: int, places: int
    ) -> list[EngineRun]:
        """See `Database`."""
        claim = _public.engine_claim(self.server, lease_seconds, places, type_=Document)
        return [engine_run(run) for run in _value(connection, claim)]

    @writing
    def engine_beat(
        self, connection: Connection, run_ids: Sequence[str], lease_seconds: int
    ) -> EngineBeat:
        """See `Database`."""
        extend = _public.engine_beat(_names(run_ids), lease_seconds, type_=Document)
        return engine_beat(_value(connection, extend))

    @writing
    def engine_later(self, connection: Connection, run_id: str, seconds: float) -> bool:
        """See `Database`."""
        later = _public.engine_later(run_id, bindparam(None, seconds, Float))
        return bool(_value(connection, later))

    @writing
    def engine_done(self, connection: Connection, run_id: str) -> bool:
        """See `Database`."""
        return bool(_value(connection, _public.engine_done(run_id)))

    @writing
    def engine_release(self, connection: Connection, kept: Sequence[str] = ()) -> int:
        """See `Database`."""
        release = _public.engine_release(self.server, _names(kept))
        return int(_value(connection, release))

    @writing
    def beat_worker(
        self,
        connection: Connection,
        version: str,
        places: int,
        running: int,
        waiting_reason: str | None,
    ) -> bool:
        """See `Database`."""
        moment = now()
        values = {
            "version": version,
            "places": places,
            "running": running,
            "waiting_reason": waiting_reason,
            "seen_at": moment,
        }
        forgotten = workers.c.seen_at < moment - WORKER_RETENTION
        connection.execute(delete(workers).where(forgotten))
        # What a process of this name left without the engine may be taken over at once.
        connection.execute(delete(servers).where(servers.c.id == self.server))
        this_one = update(workers).where(workers.c.name == self.server)
        stored = this_one.values(values).returning(workers.c.is_draining)
        is_draining = connection.execute(stored).scalar()
        if is_draining is None:
            first = values | {"name": self.server, "started_at": moment}
            connection.execute(insert(workers), first)
        return bool(is_draining)

    @writing
    def drain_worker(
        self,
        connection: Connection,
        name: str,
        is_draining: bool,  # noqa: FBT001
    ) -> bool:
        """See `Database`."""
        named = update(workers).where(workers.c.name == name)
        return connection.execute(named.values(is_draining=is_draining)).rowcount == 1

    @writing
    def remove_worker(self, connection: Connection) -> None:
        """See `Database`."""
        connection.execute(delete(workers).where(workers.c.name == self.server))

    @reading
    def list_workers(self, connection: Connection, since: datetime) -> list[Worker]:
        """See `Database`."""
        seen = select(workers).where(workers.c.seen_at >= since).order_by(workers.c.name)
        return [Worker(**row._mapping) for row in connection.execute(seen)]


def _value(connection: Connection, call: Any) -> Any:
    return connection.execute(select(call)).scalar_one()
