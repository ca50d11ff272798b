"""Asks the task engine of a PostgreSQL database; its functions are those of migration 0020."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    Integer,
    Interval,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from utils.database.engine_schema import NEVER, OLDEST, is_usable, require_engine
from utils.database.rows import engine_beat, engine_run
from utils.database.schema import engine_tasks, servers, workers
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.servers import store_heartbeat
from utils.database.types import Document, UserId
from utils.models.engine import EngineBeat, EngineChoice, EngineRun, Worker

WORKER_RETENTION = timedelta(days=1)
"""Time after which a worker that is not seen any more is forgotten."""

CHOICE_LOCK = 20_260_527
"""An arbitrary number, the same in migration 0027."""

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
        return _use(connection, most)

    @writing
    def join_engine(
        self,
        connection: Connection,
        most: int | None,
        silence: timedelta,
        ended: Mapping[str, int],
        version: str | None,
    ) -> EngineChoice:
        """See `Database`."""
        _lock_choice(connection)
        known, at_work = _version(connection), self._others_at_work(connection, silence)
        rows = connection.execute(select(servers.c.id, servers.c.beats)).all()
        beats = {row.id: row.beats for row in rows if row.id != self.server}
        alive = {name: count for name, count in beats.items() if ended.get(name) != count}
        is_used = is_usable(known) and (bool(at_work) or not alive)
        if is_used and most is not None:
            # Their tasks may be taken over at once.
            gone = [self.server, *(beats.keys() - alive.keys())]
            connection.execute(delete(servers).where(servers.c.id.in_(gone)))
            _use(connection, most)
            if version is not None:
                self._store_worker(connection, version, 0, 0, None)
        return EngineChoice(is_used, known, at_work, alive)

    @writing
    def leave_engine(self, connection: Connection, silence: timedelta) -> list[str]:
        """See `Database`."""
        _lock_choice(connection)
        at_work = self._others_at_work(connection, silence)
        if not at_work:
            connection.execute(delete(workers).where(workers.c.name == self.server))
            _use(connection, None)
            store_heartbeat(connection, self.server)
        return at_work

    def _others_at_work(self, connection: Connection, silence: timedelta) -> list[str]:
        lately = (workers.c.seen_at >= _ago(silence)) & (workers.c.name != self.server)
        found = select(workers.c.name).where(lately).order_by(workers.c.name)
        return [*connection.execute(found).scalars()]

    @writing
    def limit_sandboxes(self, connection: Connection, most: int | None) -> None:
        """See `Database`."""
        _value(connection, _public.engine_limit_sandboxes(bindparam(None, most, Integer)))

    @reading
    def count_sandboxes(self, connection: Connection) -> int:
        """See `Database`."""
        return int(_value(connection, _public.engine_sandboxes()))

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

    @reading
    def engine_expired(self, connection: Connection) -> int:
        """See `Database`."""
        return int(_value(connection, _public.engine_expired(self.server)))

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
        return self._store_worker(connection, version, places, running, waiting_reason)

    def _store_worker(
        self,
        connection: Connection,
        version: str,
        places: int,
        running: int,
        waiting_reason: str | None,
    ) -> bool:
        values = {
            "version": version,
            "places": places,
            "running": running,
            "waiting_reason": waiting_reason,
            "seen_at": _clock(),
        }
        forgotten = workers.c.seen_at < _ago(WORKER_RETENTION)
        connection.execute(delete(workers).where(forgotten))
        # What a process of this name left without the engine may be taken over at once.
        connection.execute(delete(servers).where(servers.c.id == self.server))
        this_one = update(workers).where(workers.c.name == self.server)
        stored = this_one.values(values).returning(workers.c.is_draining)
        is_draining = connection.execute(stored).scalar()
        if is_draining is None:
            first = values | {"name": self.server, "started_at": _clock()}
            connection.execute(insert(workers).values(first))
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
    def list_workers(self, connection: Connection, silence: timedelta) -> list[Worker]:
        """See `Database`."""
        held = select(func.count()).where(engine_tasks.c.worker == workers.c.name)
        running = func.greatest(workers.c.running, held.scalar_subquery()).label("running")
        columns = (running if column.name == "running" else column for column in workers.c)
        seen = select(*columns).where(workers.c.seen_at >= _ago(silence)).order_by(workers.c.name)
        return [Worker(**row._mapping) for row in connection.execute(seen)]


def _clock() -> Any:
    """Return the moment at which a statement runs, by the clock of the database."""
    return func.clock_timestamp()


def _ago(time: timedelta) -> Any:
    return _clock() - bindparam(None, time, Interval)


def _use(connection: Connection, most: int | None, oldest: Sequence[int] = OLDEST) -> Any:
    limit, least = bindparam(None, most, Integer), bindparam(None, oldest, ARRAY(Integer))
    return _value(connection, _public.engine_use(limit, least, type_=Document))


def _version(connection: Connection) -> str | None:
    version: str | None = _use(connection, 1, NEVER)["version"]
    return version


def _lock_choice(connection: Connection) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(CHOICE_LOCK)))


def _value(connection: Connection, call: Any) -> Any:
    return connection.execute(select(call)).scalar_one()
