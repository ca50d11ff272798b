"""What a user's run of an agent is given to reach its model: keys, variables, login files.

The user's own access, from `users.preferences`, replaces the server's: the programs prefer a key
in the environment to a login file, so both together would have the server pay. The server's key
goes nowhere but to its provider: users whose variables could lead it elsewhere bring their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from utils.agents.preferences import read_preferences, texts_in
from utils.agents.programs import CLAUDE_CODE, CODEX_CLI, Program, key_withheld, not_configured
from utils.agents.spec import AccessSources, AgentAccess
from utils.models.tasks import Json
from utils.redaction import MINIMUM_SECRET_CHARACTERS
from utils.sandboxes.protocol import EgressHeader

DUMMY_KEY = "added-by-the-network"
"""Stands in the environment for a key that the sandbox must not see."""

SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

MINIMUM_LINE_CHARACTERS = 16
"""A line of a secret of several lines counts as one from this length."""

CLAUDE_RETRIES = 4

# What leads requests elsewhere, has other certificates believed, or runs code in a program before
# it starts. Of a program's own variables there are hundreds, new ones with each release: all of
# them, with those left out that are known to do no harm.
_DIVERTING = r".*_PROXY|(?:NODE|BUN|OPENSSL|OTEL)_.*|SSL.*|RIPGREP_CONFIG_PATH|(?:{own})_.*"
_HARMLESS = frozenset(
    {
        "NO_PROXY",
        "NODE_ENV",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",
        "CLAUDE_CODE_EFFORT_LEVEL",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        "CLAUDE_CODE_MAX_RETRIES",
    }
)

# What a key may look like: anything that fits into one line of a header.
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class _Program:
    """How a program takes its access.

    `keys` are the variables that hold one, with the header each becomes, those first that the
    program prefers. `server_key` is the one of them for the server's key.
    """

    about: Program
    sections: tuple[str, ...]
    keys: Mapping[str, tuple[str, str]]
    server_key: str
    other_access: tuple[str, ...]
    diverting: re.Pattern[str]
    endpoint: str
    host: str
    login_file: str
    environment: Mapping[str, str]


def _diverting(own: str) -> re.Pattern[str]:
    return re.compile(_DIVERTING.format(own=own), re.IGNORECASE)


_BEARER = ("Authorization", "Bearer ")

_CLAUDE = _Program(
    about=CLAUDE_CODE,
    sections=("claudeCode",),
    keys={
        "ANTHROPIC_AUTH_TOKEN": _BEARER,
        "ANTHROPIC_API_KEY": ("x-api-key", ""),
        "CLAUDE_CODE_OAUTH_TOKEN": _BEARER,
    },
    server_key="ANTHROPIC_API_KEY",
    other_access=("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"),
    diverting=_diverting("ANTHROPIC|CLAUDE"),
    endpoint="ANTHROPIC_BASE_URL",
    host="api.anthropic.com",
    login_file=".claude/.credentials.json",
    environment={
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # Without it the program refuses to skip its questions when it runs as root.
        "IS_SANDBOX": "1",
        # A refused key is retried like an overload, with pauses that double from half a second.
        # Four retries give up after about eight seconds; the default of ten takes minutes.
        "CLAUDE_CODE_MAX_RETRIES": str(CLAUDE_RETRIES),
    },
)
_CODEX = _Program(
    about=CODEX_CLI,
    # Older clients wrote `codexCLI`.
    sections=("codex", "codexCLI"),
    keys={"CODEX_API_KEY": _BEARER, "OPENAI_API_KEY": _BEARER},
    # `codex exec` sends no key at all with only OPENAI_API_KEY.
    server_key="CODEX_API_KEY",
    other_access=(),
    diverting=_diverting("OPENAI|CODEX"),
    # Not every version heeds it; the key is safe with those that do.
    endpoint="OPENAI_BASE_URL",
    host="api.openai.com",
    login_file=".codex/auth.json",
    environment={},
)


def claude_access(sources: AccessSources) -> AgentAccess:
    """See `Agent.access`."""
    return _access(_CLAUDE, sources, sources.anthropic_api_key)


def codex_access(sources: AccessSources) -> AgentAccess:
    """See `Agent.access`."""
    return _access(_CODEX, sources, sources.openai_api_key)


def _access(program: _Program, sources: AccessSources, server_key: str | None) -> AgentAccess:
    user = read_preferences(sources.preferences, program.sections)
    given = _clean_keys(program, user.environment)
    keys = {name: given[name] for name in program.keys if name in given}
    if program is _CODEX and "OPENAI_API_KEY" in keys:
        keys.setdefault("CODEX_API_KEY", keys["OPENAI_API_KEY"])
    secrets = _secrets(given, user.credentials)
    own = keys or user.credentials or any(given.get(name) for name in program.other_access)
    if not own:
        if not server_key:
            raise not_configured(program.about)
        if names := _diverting_names(program, given):
            raise key_withheld(program.about, names)
        keys = {program.server_key: server_key}
        secrets.add(server_key)
    # A login file cannot be injected by the network, so it is in the sandbox in either mode.
    files = {program.login_file: user.login_file} if user.login_file else {}
    egress: tuple[EgressHeader, ...] = ()
    if sources.egress and keys and not given.get(program.endpoint):
        given, keys, egress = _moved_to_egress(program, given, keys)
    return AgentAccess(
        environment={**program.environment, **given, **keys},
        login_files=files,
        egress=egress,
        secrets=tuple(sorted(_forms(secrets))),
    )


def _clean_keys(program: _Program, given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with keys trimmed; an empty or impossible key is none."""
    trimmed = {name: value.strip() for name, value in given.items() if name in program.keys}
    usable = {name: value for name, value in trimmed.items() if _KEY.fullmatch(value)}
    return {name: value for name, value in given.items() if name not in program.keys} | usable


def _diverting_names(program: _Program, given: Mapping[str, str]) -> list[str]:
    return [
        name
        for name, value in given.items()
        if value and program.diverting.fullmatch(name) and name.upper() not in _HARMLESS
    ]


def _moved_to_egress(
    program: _Program, given: Mapping[str, str], keys: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], tuple[EgressHeader, ...]]:
    # Only the key that the program would use: with two headers a provider refuses the request.
    name = next(name for name in program.keys if name in keys)
    header, prefix = program.keys[name]
    others = {key: value for key, value in given.items() if key not in program.keys}
    # The network's proxy presents certificates of its own, which these programs do not know.
    authorities = dict.fromkeys(("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"), SYSTEM_CERTIFICATES)
    egress = (EgressHeader(program.host, header, prefix + keys[name]),)
    return {**authorities, **others}, {name: DUMMY_KEY}, egress


def _secrets(given: Mapping[str, str], credentials: Json) -> set[str]:
    return {*given.values(), *texts_in(credentials)}


def _forms(secrets: set[str]) -> set[str]:
    """Return the secrets as an agent may print them: in JSON, or line by line."""
    forms = set()
    for secret in secrets:
        forms |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        lines = [line.strip() for line in secret.splitlines()]
        forms |= {line for line in lines if len(line) >= MINIMUM_LINE_CHARACTERS}
    # Half a surrogate pair cannot leave the backend, and would break who encodes a secret.
    return {
        form
        for form in forms
        if len(form) >= MINIMUM_SECRET_CHARACTERS and form.encode(errors="replace").decode() == form
    }
