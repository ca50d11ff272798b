"""Coordinates the servers that share a database: heartbeats, takeover, stop requests, in SQL."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from utils.database.rows import now
from utils.database.schema import servers, task_turns, tasks
from utils.database.sql.engine import SqlMethods, writing
from utils.models.tasks import (
    ACTIVE_STATUSES,
    Heartbeat,
    QueuedTask,
    RunningTurn,
    TaskStatus,
)
from utils.models.turns import TurnStatus

_queued = tuple(tasks.c[name] for name in QueuedTask.__dataclass_fields__)
_known_servers = select(servers.c.id)
_interrupting = task_turns.alias()
_interrupted = (
    select(task_turns.c.task_id, task_turns.c.number)
    .join(tasks, tasks.c.id == task_turns.c.task_id)
    .join(
        _interrupting,
        (_interrupting.c.task_id == task_turns.c.task_id)
        & (_interrupting.c.interrupts == task_turns.c.number),
    )
    .where(
        tasks.c.status == TaskStatus.RUNNING,
        tasks.c.server == bindparam("server"),
        task_turns.c.status == TurnStatus.RUNNING,
    )
    .distinct()
)


def store_heartbeat(connection: Connection, server: str) -> None:
    """Increment the heartbeat of a server."""
    next_heartbeat = {"beats": servers.c.beats + 1, "seen_at": now()}
    known = update(servers).where(servers.c.id == server)
    if connection.execute(known.values(next_heartbeat)).rowcount == 0:
        connection.execute(insert(servers), {"id": server, "beats": 1, "seen_at": now()})


class ServerMethods(SqlMethods):
    """Methods for heartbeats, takeover of tasks and stop requests."""

    @writing
    def record_heartbeat(self, connection: Connection) -> Heartbeat:
        """See `Database`."""
        store_heartbeat(connection, self.server)
        others = connection.execute(
            select(servers.c.id, servers.c.beats).where(servers.c.id != self.server)
        )
        stops = select(tasks.c.id).where(
            tasks.c.status == TaskStatus.RUNNING,
            tasks.c.server == self.server,
            tasks.c.stop_requested,
        )
        return Heartbeat(
            {row.id: row.beats for row in others},
            list(connection.execute(stops).scalars()),
            [
                RunningTurn(*row)
                for row in connection.execute(_interrupted, {"server": self.server})
            ],
        )

    @writing
    def claim_unfinished_tasks(
        self, connection: Connection, silent: Collection[str] = (), *, own: bool = False
    ) -> list[QueuedTask]:
        """See `Database`."""
        ended = [*silent, self.server] if own else list(silent)
        connection.execute(delete(servers).where(servers.c.id.in_(list(silent))))
        unowned = or_(
            tasks.c.server.is_(None),
            tasks.c.server.in_(ended),
            tasks.c.server.not_in(_known_servers) & (tasks.c.server != self.server),
        )
        active = tasks.c.status.in_(ACTIVE_STATUSES)
        claim = update(tasks).where(active, unowned).values(server=self.server)
        rows = connection.execute(claim.returning(*_queued))
        claimed = [QueuedTask(**row._mapping) for row in rows]
        return sorted(claimed, key=lambda task: task.id)

    @writing
    def request_stop(self, connection: Connection, user_id: str, task_id: int) -> bool:
        """See `Database`."""
        running = (
            (tasks.c.id == task_id)
            & (tasks.c.user_id == user_id)
            & (tasks.c.status == TaskStatus.RUNNING)
        )
        statement = update(tasks).where(running).values(stop_requested=True)
        return connection.execute(statement).rowcount == 1
