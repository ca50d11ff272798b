"""Brings the address of a PostgreSQL database to one form, whoever printed it.

Understands URLs of Supabase, Neon, Heroku, Prisma, JDBC and SQLAlchemy, `psql` commands, and
passwords with characters that a URL would have to escape. Messages never repeat the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

from utils.config.values import is_placeholder, unquoted

POOLED = "pgbouncer"
"""Parameter of our form: the server behind the address gives each transaction another session."""

CONNECTIONS = "connection_limit"
"""Parameter of our form: the most connections that this server may open."""

PARAMETERS = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout gssencmode hostaddr keepalives
    keepalives_count keepalives_idle keepalives_interval load_balance_hosts options passfile
    require_auth service sslcert sslcrl sslkey sslmode sslpassword sslrootcert
    ssl_min_protocol_version sslsni sslnegotiation target_session_attrs tcp_user_timeout
    """.split()  # noqa: SIM905
)
"""Parameters of libpq that stay as they are."""

# Parameters of other drivers that have no meaning here.
_DROPPED = frozenset(
    """
    pool_timeout socket_timeout statement_cache_size prepared_statements prepareThreshold
    prepare_threshold sslaccept sslidentity supa workaround uselibpqcompat pool pool_size max_conns
    reWriteBatchedInserts stringtype ApplicationName poolmode pool_mode currentSchema
    """.split()  # noqa: SIM905
)
_SCHEME = re.compile(r"(?:jdbc:)?(postgres|postgresql)(?:\+[a-z0-9_]+)?://", re.IGNORECASE)
_KEYWORDS = re.compile(r"\s{0,20}\b(\w+)\s{0,20}=\s{0,20}('(?:[^'\\]|\\.)*'|[^'\s]\S*)")
_COMMAND = re.compile(r"psql\s+(?:-d\s+)?(.+)", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"[<\[{][^<>\[\]{}]{0,60}(?:pass|user|host|ref|region|project|db|name|your)"
    r"[^<>\[\]{}]{0,60}[>\]}]",
    re.IGNORECASE,
)
_POOLERS = re.compile(r"\.pooler\.supabase\.(?:com|co)$|-pooler\.")
_TRANSACTION_PORTS = frozenset({"6543", "6432"})
_SSL = {"true": "require", "1": "require", "require": "require", "no-verify": "require"}
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*")

_FORM = "must be postgresql://user:password@host:5432/database"


@dataclass(slots=True)
class _Parts:
    user: str
    password: str
    hosts: list[str]
    database: str
    query: dict[str, str]


def database_address(text: str) -> str:
    """Return the address as a URL in our form. Raises `ValueError`."""
    text = unquoted(text)
    command = _COMMAND.fullmatch(text)
    if command:
        text = unquoted(command[1])
    if is_placeholder(text) or _PLACEHOLDER.search(text):
        raise ValueError(
            "contains a placeholder; put the password and the other values of your database in"
        )
    keywords = _KEYWORDS.findall(text) if _KEYWORDS.match(text) else []
    if keywords:
        return _render(_from_keywords(keywords))
    match = _SCHEME.match(text)
    if match is None:
        raise ValueError(f"{_FORM}; for SQLite leave DATABASE_URL out")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("must not contain spaces, line ends or invisible characters")
    return _render(_split(text[match.end() :]))


def password_of(address: str) -> str:
    """Return the password in an address of our form, or an empty text."""
    return _split(address.partition("://")[2]).password


def _split(rest: str) -> _Parts:
    # The last @ ends the password, which may hold @, /, ? and # itself.
    userinfo, has_user, place = rest.rpartition("@")
    if has_user and ("=" in place or "/" not in place) and "?" in userinfo:
        # An @ in a parameter, such as an application name.
        userinfo, has_user, place = rest.partition("@")
    user, _, password = userinfo.partition(":")
    location, _, query = place.partition("?")
    hosts, _, database = location.partition("/")
    if "#" in location:
        raise ValueError(f"{_FORM}; write # in a name as %23")
    pairs = parse_qsl(query, keep_blank_values=True)
    parameters = dict(pairs)
    several = [value for name, value in pairs if name == "host"]
    if len(several) > 1:
        hosts = ",".join(several)
        del parameters["host"]
    return _Parts(
        _decoded(user) or parameters.pop("user", ""),
        _decoded(password) or parameters.pop("password", ""),
        [host for host in hosts.split(",") if host],
        unquote(database),
        parameters,
    )


def _from_keywords(pairs: Iterable[tuple[str, str]]) -> _Parts:
    """Read the form of libpq: `host=localhost dbname=name user=name password=text`."""
    given = {name: re.sub(r"\\(.)", r"\1", unquoted(value)) for name, value in pairs}
    host, port = given.pop("host", ""), given.pop("port", "")
    user, password, database = (given.pop(name, "") for name in ("user", "password", "dbname"))
    if host.startswith("/"):
        return _Parts(user, password, [], database, {**given, "host": host})
    return _Parts(user, password, [f"{host}:{port}" if port else host], database, given)


def _decoded(text: str) -> str:
    """Decode escapes; a text with a % that begins none was not escaped at all."""
    return text if re.search(r"%(?![0-9A-Fa-f]{2})", text) else unquote(text)


def _render(parts: _Parts) -> str:
    for host in parts.hosts:
        name, _, port = host.rpartition(":") if re.search(r":[^\]]*$", host) else (host, "", "")
        is_port = not port or (port.isdecimal() and 0 < int(port) < 65_536)  # noqa: PLR2004
        if not _HOST.fullmatch(name) or not is_port or host.endswith(":"):
            raise ValueError(f"{_FORM}; write special characters of the password as %40, %2F, ...")
    if not parts.hosts and "host" not in parts.query:
        raise ValueError(f"{_FORM}; it names no host")
    query = _parameters(parts)
    user, password = (quote(text, safe="") for text in (parts.user, parts.password))
    userinfo = f"{user}:{password}@" if password else f"{user}@" if user else ""
    # SQLAlchemy takes several hosts as parameters only.
    several = [("host", host) for host in parts.hosts] if len(parts.hosts) > 1 else []
    place = "" if several else "".join(parts.hosts)
    pairs = [*several, *query.items()]
    end = f"?{urlencode(pairs)}" if pairs else ""
    return f"postgresql://{userinfo}{place}/{quote(parts.database, safe='')}{end}"


def _parameters(parts: _Parts) -> dict[str, str]:
    """Return the parameters that libpq and this server know. Raises `ValueError` for others."""
    given = {name: value for name, value in parts.query.items() if name not in _DROPPED}
    kept = {name: value for name, value in given.items() if name in PARAMETERS | {"host", "port"}}
    if given.pop("schema", "public") != "public":
        raise ValueError("must not name a schema other than public, where the tables are")
    if "ssl" in given and "sslmode" not in given:
        mode = _SSL.get(given["ssl"].lower())
        kept |= {"sslmode": mode} if mode else {}
    if kept.get("sslmode") == "no-verify":
        kept["sslmode"] = "require"
    limit = given.get(CONNECTIONS, "")
    if limit.isdecimal() and int(limit) > 0:
        kept[CONNECTIONS] = limit
    if _is_pooled(parts, given):
        kept[POOLED] = "true"
    unknown = given.keys() - kept.keys() - {"ssl", CONNECTIONS, POOLED}
    if unknown:
        # Parameters of a URL are no secrets, but a password with ? and & would look like some.
        raise ValueError(
            "has a parameter after the ? that PostgreSQL does not know; remove it, or write ? and "
            "& of the password as %3F and %26"
        )
    return kept


def _is_pooled(parts: _Parts, given: dict[str, str]) -> bool:
    names = [host.rpartition(":")[0] or host for host in parts.hosts]
    ports = [host.rpartition(":")[2] for host in parts.hosts]
    return (
        given.get(POOLED, "").lower() in {"true", "1"}
        or any(map(_POOLERS.search, names))
        or not _TRANSACTION_PORTS.isdisjoint(ports)
    )
