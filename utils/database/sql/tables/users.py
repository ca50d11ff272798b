"""Stores users, profiles and refresh tokens, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, literal, select, text, update

from utils.database.rows import PROFILE_COLUMNS, USER_COLUMNS, columns_of, json_object, now
from utils.database.schema import refresh_tokens, stream_tickets, users
from utils.database.shared import (
    NO_USER,
    REFRESH_TOKEN_INVALID,
    USER_GONE,
    account_refused,
    new_user_values,
    test_user_values,
)
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.types import UtcDateTime
from utils.errors import Conflict, NotFound, Unauthenticated
from utils.models.tasks import Json
from utils.models.users import REFRESH_RETRY_PERIOD, Profile, RefreshToken, User


class UserMethods(SqlMethods):
    """Methods on users, test users, profiles and refresh tokens."""

    def ensure_user(self, user_id: str, email: str | None = None) -> User:
        """See `Database`."""
        # The user nearly always exists, and reads never wait for a lock.
        with suppress(NotFound):
            return self.get_user(user_id)
        with suppress(Conflict):
            return self._add_user(new_user_values(user_id, email))
        return self.get_user(user_id)

    @writing
    def ensure_account(
        self,
        connection: Connection,
        user_id: str,
        email: str | None,
        session: str | None,
        *,
        allow_anonymous: bool,
    ) -> User:
        """See `Database`."""
        connection.execute(_lock_account, {"user_id": user_id})
        state = account_state(connection, user_id, session)
        if state != "active" and not (state == "anonymous" and allow_anonymous):
            raise account_refused(state)
        this_one = select(*USER_COLUMNS).where(users.c.id == user_id)
        row = connection.execute(this_one).first()
        if row is None:
            statement = insert(users).returning(*USER_COLUMNS)
            row = connection.execute(statement, new_user_values(user_id, email)).one()
        return User(**row._mapping)

    @reading
    def get_user(self, connection: Connection, user_id: str) -> User:
        """See `Database`."""
        row = connection.execute(select(*USER_COLUMNS).where(users.c.id == user_id)).first()
        if row is None:
            raise NotFound(NO_USER)
        return User(**row._mapping)

    @reading
    def get_profile(self, connection: Connection, user_id: str) -> Profile:
        """See `Database`."""
        row = connection.execute(select(*PROFILE_COLUMNS).where(users.c.id == user_id)).first()
        return _profile(row)

    @writing
    def update_profile(
        self, connection: Connection, user_id: str, fields: Mapping[str, Any]
    ) -> Profile:
        """See `Database`."""
        values = {**fields, "updated_at": now()}
        statement = update(users).where(users.c.id == user_id).values(values)
        return _profile(connection.execute(statement.returning(*PROFILE_COLUMNS)).first())

    @writing
    def replace_profile(
        self, connection: Connection, user_id: str, seen: Profile, fields: Mapping[str, Any]
    ) -> Profile | None:
        """See `Database`."""
        this_one = users.c.id == user_id
        locked = select(users.c.updated_at).where(this_one).with_for_update(key_share=True)
        current = connection.execute(locked).first()
        if current is None:
            raise NotFound(NO_USER)
        if current.updated_at != seen.updated_at:
            return None
        statement = update(users).where(this_one).values({**fields, "updated_at": now()})
        return _profile(connection.execute(statement.returning(*PROFILE_COLUMNS)).first())

    @reading
    def list_profile_ids(
        self, connection: Connection, after: str | None = None, *, limit: int = 500
    ) -> list[str]:
        """See `Database`."""
        secret = users.c.github_token.is_not(None) | users.c.preferences.is_not(None)
        page = select(users.c.id).where(secret).order_by(users.c.id).limit(limit)
        if after is not None:
            page = page.where(users.c.id > after)
        return list(connection.scalars(page))

    def create_test_user(
        self, user_id: str, email: str, metadata: Json, expires_at: datetime
    ) -> User:
        """See `Database`."""
        return self._add_user(test_user_values(user_id, email, metadata, expires_at))

    @reading
    def list_test_users(self, connection: Connection) -> list[User]:
        """See `Database`."""
        statement = select(*USER_COLUMNS).where(users.c.is_test_user)
        newest_first = statement.order_by(users.c.created_at.desc(), users.c.id)
        return [User(**row._mapping) for row in connection.execute(newest_first)]

    @writing
    def delete_test_user(self, connection: Connection, user_id: str) -> bool:
        """See `Database`."""
        this_one = users.c.is_test_user & (users.c.id == user_id)
        return connection.execute(delete(users).where(this_one)).rowcount == 1

    @writing
    def add_refresh_token(self, connection: Connection, token: RefreshToken) -> None:
        """See `Database`."""
        own = users.c.id == token.user_id
        if connection.execute(_locked_user.where(own)).first() is None:
            raise Unauthenticated(USER_GONE)
        # Clients may sign in at every page load, so each sign-in deletes expired tokens.
        old = refresh_tokens.c.user_id == token.user_id, refresh_tokens.c.expires_at <= now()
        connection.execute(delete(refresh_tokens).where(*old))
        connection.execute(insert(refresh_tokens), columns_of(token))

    def rotate_refresh_token(
        self,
        token_hash: str,
        replacement_hash: str,
        expires_at: datetime,
        now: datetime,
        *,
        allow_anonymous: bool = False,
    ) -> User:
        """See `Database`."""
        # Raised after the transaction, so that the revocation is committed.
        found = self._rotate(
            token_hash, replacement_hash, expires_at, now, allow_anonymous=allow_anonymous
        )
        if isinstance(found, Unauthenticated):
            raise found
        return found

    @writing
    def extend_refresh_token(
        self, connection: Connection, token_hash: str, expires_at: datetime, now: datetime
    ) -> User | None:
        """See `Database`."""
        unused = refresh_tokens.c.used_at.is_(None), refresh_tokens.c.revoked_at.is_(None)
        own = refresh_tokens.c.session.is_(None), refresh_tokens.c.ends_at.is_(None)
        valid = refresh_tokens.c.token_hash == token_hash, refresh_tokens.c.expires_at > now
        statement = (
            update(refresh_tokens).where(*valid, *unused, *own).values(expires_at=expires_at)
        )
        user_id = connection.scalar(statement.returning(refresh_tokens.c.user_id))
        if user_id is None:
            return None
        owner = connection.execute(select(*USER_COLUMNS).where(users.c.id == user_id)).one()
        return User(**owner._mapping)

    @writing
    def revoke_refresh_family(self, connection: Connection, token_hash: str) -> None:
        """See `Database`."""
        row = _locked_token(connection, token_hash)
        if row is not None:
            _revoke_family(connection, row.family, now())

    @writing
    def add_stream_ticket(
        self, connection: Connection, user_id: str, ticket_hash: str, expires_at: datetime
    ) -> None:
        """See `Database`."""
        if connection.execute(_locked_user.where(users.c.id == user_id)).first() is None:
            raise Unauthenticated(USER_GONE)
        own = stream_tickets.c.user_id == user_id
        connection.execute(delete(stream_tickets).where(own, stream_tickets.c.expires_at <= now()))
        values = {"ticket_hash": ticket_hash, "user_id": user_id, "expires_at": expires_at}
        connection.execute(insert(stream_tickets), values)

    @writing
    def use_stream_ticket(
        self, connection: Connection, ticket_hash: str, moment: datetime
    ) -> str | None:
        """See `Database`."""
        this_one = delete(stream_tickets).where(stream_tickets.c.ticket_hash == ticket_hash)
        columns = stream_tickets.c.user_id, stream_tickets.c.expires_at
        row = connection.execute(this_one.returning(*columns)).first()
        return row.user_id if row is not None and row.expires_at > moment else None

    @writing
    def _add_user(self, connection: Connection, values: Mapping[str, Any]) -> User:
        statement = insert(users).returning(*USER_COLUMNS)
        return User(**connection.execute(statement, values).one()._mapping)

    @writing
    def _rotate(
        self,
        connection: Connection,
        token_hash: str,
        replacement_hash: str,
        expires_at: datetime,
        now: datetime,
        *,
        allow_anonymous: bool,
    ) -> User | Unauthenticated:
        row = _locked_token(connection, token_hash)
        if row is None:
            return Unauthenticated(REFRESH_TOKEN_INVALID)
        if row.used_at is not None and not _may_be_retried(row, now):
            _revoke_family(connection, row.family, now)
            return Unauthenticated(REFRESH_TOKEN_INVALID)
        ends_at = min(row.expires_at, row.ends_at or row.expires_at)
        if row.revoked_at is not None or ends_at <= now:
            return Unauthenticated(REFRESH_TOKEN_INVALID)
        if row.session is not None:
            state = self._state_of(connection, row, allow_anonymous=allow_anonymous)
            if state != "active":
                _revoke_family(connection, row.family, now)
                return account_refused(state)
        _use(connection, row, now)
        token = RefreshToken(
            replacement_hash, row.family, row.user_id, expires_at, row.session, row.ends_at
        )
        connection.execute(insert(refresh_tokens), columns_of(token))
        owner = connection.execute(select(*USER_COLUMNS).where(users.c.id == row.user_id)).one()
        return User(**owner._mapping)

    def _state_of(self, connection: Connection, token: Row[Any], *, allow_anonymous: bool) -> str:
        # Rows that were copied here from a Supabase project: nobody can be asked about them.
        if not self.knows_accounts:
            return "signed_out"
        state = account_state(connection, token.user_id, token.session)
        return "active" if state == "anonymous" and allow_anonymous else state


# Functions of migration 0007, which only the database of a Supabase project has.
_lock_account = text("SELECT public.lock_account(CAST(:user_id AS uuid))")
_account_state = text("SELECT public.account_state(CAST(:user_id AS uuid), CAST(:session AS uuid))")


def account_state(connection: Connection, user_id: str, session: str | None = None) -> str:
    """Return the state of an account of Supabase; see migration 0007."""
    given = {"user_id": user_id, "session": session or None}
    return str(connection.execute(_account_state, given).scalar_one())


def _profile(row: Row[Any] | None) -> Profile:
    if row is None:
        raise NotFound(NO_USER)
    columns = dict(row._mapping)
    return Profile(**columns | {"preferences": json_object(columns["preferences"])})


# Every change of a user's tokens locks the user's row first. Otherwise a rotation and a revocation
# of one family could run concurrently and leave a valid token behind.
_locked_user = select(users.c.id).with_for_update(key_share=True, of=users)


def _locked_token(connection: Connection, token_hash: str) -> Row[Any] | None:
    this_one = refresh_tokens.c.token_hash == token_hash
    owner = _locked_user.join(refresh_tokens, refresh_tokens.c.user_id == users.c.id)
    connection.execute(owner.where(this_one))
    return connection.execute(select(refresh_tokens).where(this_one)).first()


def _may_be_retried(row: Row[Any], moment: datetime) -> bool:
    # A family has two tokens that are not revoked: the one used last and its replacement.
    recent: bool = row.used_at > moment - REFRESH_RETRY_PERIOD
    return recent and row.revoked_at is None


def _use(connection: Connection, row: Row[Any], moment: datetime) -> None:
    used_at = func.coalesce(refresh_tokens.c.used_at, literal(moment, UtcDateTime()))
    valid = refresh_tokens.c.family == row.family, refresh_tokens.c.revoked_at.is_(None)
    this_one = refresh_tokens.c.token_hash == row.token_hash
    # The previous token and an earlier replacement that never reached the client: a later use of
    # either one means that the token was stolen.
    spent = update(refresh_tokens).where(*valid, ~this_one)
    connection.execute(spent.values(used_at=used_at, revoked_at=moment))
    connection.execute(update(refresh_tokens).where(this_one).values(used_at=used_at))


def _revoke_family(connection: Connection, family: str, moment: datetime) -> None:
    valid = refresh_tokens.c.family == family, refresh_tokens.c.revoked_at.is_(None)
    connection.execute(update(refresh_tokens).where(*valid).values(revoked_at=moment))
