"""Collects the access of an agent to its model: keys, variables and login files.

The user's own access, from `users.preferences`, replaces the server's: the programs prefer a key
in the environment to a login file, so with both of them the server would pay. The server's key
goes only to its provider: users whose variables could divert it need a key of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from utils.agents.failures import key_withheld, not_configured
from utils.agents.preferences import read_preferences
from utils.agents.secrecy import has_secret_name, secret_texts, secret_values
from utils.agents.spec import AccessSources, AgentAccess, Program
from utils.models.tasks import Json
from utils.redaction import MINIMUM_SECRET_CHARACTERS
from utils.sandboxes.protocol import EgressHeader

DUMMY_KEY = "added-by-the-network"
"""Replaces a key in the environment when the sandbox must not see it."""

SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

MINIMUM_LINE_CHARACTERS = 16
"""Length from which a single line of a longer secret is redacted too."""

# Variables that redirect requests, add trusted certificates, or run code when a program starts. A
# program has hundreds of its own and each release adds some, so all of them count, except those
# that are known to be harmless.
_DIVERTING = r".*_PROXY|(?:NODE|BUN|OPENSSL|OTEL)_.*|SSL.*|RIPGREP_CONFIG_PATH"
_HARMLESS = frozenset({"NO_PROXY", "NODE_ENV"})

# A key may be any text that fits into one line of a header.
_KEY = re.compile(r"[\x21-\x7e]+")


def grant_access(program: Program | None, sources: AccessSources) -> AgentAccess:
    """Return the keys, variables and files of a user's run of a program.

    Without a program these are only the variables of the project.

    Raises `AgentError` (`agent_not_configured`) when there is no key, or only the server's and the
    user's variables could divert it.
    """
    project = sources.variables
    # The others are plain: what has to be hidden is stored as a secret.
    project_secrets = {value for name, value in project.items() if has_secret_name(name)}
    if program is None:
        return AgentAccess(project, secrets=tuple(sorted(printed_forms(project_secrets))))
    user = read_preferences(sources.preferences, program.sections)
    variables = _clean_keys(program, {**user.environment, **project})
    keys = {key.name: variables[key.name] for key in program.keys if key.name in variables}
    for name, fallback in program.key_defaults.items():
        if fallback in keys:
            keys.setdefault(name, keys[fallback])
    users = {name: value for name, value in variables.items() if name not in project}
    secrets = _secrets(users, user.credentials) | project_secrets
    own = keys or user.credentials or any(variables.get(name) for name in program.other_access)
    if not own:
        server_key = _server_key(program, sources, variables)
        keys = {program.server_key: server_key}
        secrets.add(server_key)
    # A login file cannot be injected by the network, so it is in the sandbox in either mode.
    files = {program.login_file: user.login_file} if user.login_file else {}
    egress: tuple[EgressHeader, ...] = ()
    if sources.egress and keys and not variables.get(program.endpoint_variable):
        variables, keys, egress = _moved_to_egress(program, variables, keys)
    return AgentAccess(
        environment={**program.environment, **variables, **keys},
        login_files=files,
        egress=egress,
        secrets=tuple(sorted(printed_forms(secrets))),
    )


def _server_key(program: Program, sources: AccessSources, variables: Mapping[str, str]) -> str:
    key = sources.server_keys.get(program.key_setting)
    if not key:
        raise not_configured(program)
    if names := _diverting_names(program, variables):
        raise key_withheld(program, names)
    return key


def _clean_keys(program: Program, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with keys trimmed, without empty and malformed keys."""
    names = {key.name for key in program.keys}
    trimmed = {name: value.strip() for name, value in variables.items() if name in names}
    usable = {name: value for name, value in trimmed.items() if _KEY.fullmatch(value)}
    return {name: value for name, value in variables.items() if name not in names} | usable


def _diverting_names(program: Program, variables: Mapping[str, str]) -> list[str]:
    own = "|".join(map(re.escape, program.own_prefixes))
    diverting = re.compile(rf"{_DIVERTING}|(?:{own})_.*", re.IGNORECASE)
    harmless = _HARMLESS | program.harmless
    return [
        name
        for name, value in variables.items()
        if value and diverting.fullmatch(name) and name.upper() not in harmless
    ]


def _moved_to_egress(
    program: Program, variables: Mapping[str, str], keys: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], tuple[EgressHeader, ...]]:
    # Only the key that the program would use: with two headers a provider refuses the request.
    key = next(key for key in program.keys if key.name in keys)
    names = {one.name for one in program.keys}
    others = {name: value for name, value in variables.items() if name not in names}
    # The network's proxy presents certificates of its own, which these programs do not know.
    authorities = dict.fromkeys(("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"), SYSTEM_CERTIFICATES)
    egress = (EgressHeader(program.host, key.header, key.prefix + keys[key.name]),)
    return {**authorities, **others}, {key.name: DUMMY_KEY}, egress


def model_hosts(program: Program | None, access: AgentAccess) -> tuple[str, ...]:
    """Return the hosts that a run has to reach for its model, as `host` or `host:port`."""
    if program is None:
        return ()
    parts = urlsplit(access.environment.get(program.endpoint_variable, ""))
    endpoint = parts.netloc.rpartition("@")[2].lower()
    return (program.host, *program.login_hosts, *([endpoint] if endpoint else []))


def login_secrets(login: Json) -> set[str]:
    """Return every form in which the texts of a login may be printed."""
    return printed_forms(_secrets({}, login))


def _secrets(variables: Mapping[str, str], credentials: Json) -> set[str]:
    return {*secret_values(variables), *secret_texts(credentials)}


def printed_forms(secrets: set[str]) -> set[str]:
    """Return every form in which an agent may print the secrets: as they are, in JSON, by line."""
    forms = set()
    for secret in secrets:
        forms |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        lines = [line.strip() for line in secret.splitlines()]
        forms |= {line for line in lines if len(line) >= MINIMUM_LINE_CHARACTERS}
    # Half a surrogate pair cannot be encoded, so it never leaves the backend.
    return {
        form
        for form in forms
        if len(form) >= MINIMUM_SECRET_CHARACTERS and form.encode(errors="replace").decode() == form
    }
