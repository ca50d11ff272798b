"""Validates and parses repository URLs and branch names, for the whole server.

Both come from clients and become arguments of git, so everything that is not clearly a repository
or a branch is refused. Messages never quote the input: it may hold a token.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from utils.errors import InvalidBranch, RepositoryNotAllowed
from utils.git.branch_names import broken_branch_rule
from utils.git.hosts import DEFAULT_PORTS, EXAMPLE, HostRules, Place, canonical_host
from utils.git.web_pages import SSH_HOSTS, has_site_rules, repository_of_page

MAX_URL_CHARACTERS = 2_000

# Azure DevOps has projects with spaces in their names.
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~+-]|%20)+")
_USER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# Prefixes of tokens of GitHub, GitLab, Bitbucket and others, and texts that are as long as tokens.
_TOKEN = re.compile(
    r"gh[a-z]_|github_pat_|gl[a-z]+-|at(?:bb|att|ctt)|x-|oauth2|.{20}", re.IGNORECASE
)
_SCP_LIKE = re.compile(r"([^@/:]+)@([^@/:]+):(?!//)(.+)")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class RepositoryUrl:
    """A repository that may be cloned. `url` is canonical and is passed to git.

    `owner` may be a path (`group/subgroup`); for a local repository it is `local`.
    """

    url: str
    scheme: str
    host: str
    port: int | None
    owner: str
    name: str
    is_local: bool
    branch: str | None = field(default=None, compare=False)
    """The branch that the address named, when it was that of a page of the branch."""

    @property
    def authority(self) -> str:
        """The host, with its port unless it is the default one."""
        return self.host if self.port is None else f"{self.host}:{self.port}"


def parse_repository_url(
    text: str, *, allowed_hosts: Collection[str], allow_local: bool
) -> RepositoryUrl:
    """Parse an https, ssh or (where allowed) local address.

    Raises `RepositoryNotAllowed` when it is malformed or its host is not one of `allowed_hosts`
    (`host`, `host:port` or `*`). SSH addresses become https addresses, because tasks have tokens
    and no SSH keys. Addresses of pages of a repository become that of the repository.
    """
    text = text.strip()
    _refuse_suspicious(text)
    rules = HostRules(allowed_hosts, allow_local)
    if text.startswith("/"):
        return _local(text, allow_local=allow_local)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _without_scheme(text, rules)
    scheme = scheme.lower()
    if scheme == "file":
        return _local(rest.removeprefix("localhost"), allow_local=allow_local)
    if scheme not in {"https", "http", "ssh"}:
        raise RepositoryNotAllowed(f"Only https:// and ssh:// addresses can be used. {EXAMPLE}")
    authority, _, path = rest.partition("/")
    host, port = _split_authority(authority)
    if scheme == "ssh":
        scheme, port = "https", None  # the https port need not match the SSH port
    return _remote(scheme, host, port, path, rules)


def github_full_name(url: str, github_host: str) -> str:
    """Return `owner/name` of a repository on GitHub, or on the Enterprise host given instead.

    Raises `RepositoryNotAllowed` (`repository_not_on_github`) for any other address.
    """
    full_name = find_github_name(url, github_host)
    if full_name is None:
        raise RepositoryNotAllowed(
            f"Pull requests are for repositories on {github_host} only.", "repository_not_on_github"
        )
    return full_name


def find_github_name(url: str, github_host: str) -> str | None:
    """Return `owner/name` like `github_full_name`, but None for any other address."""
    try:
        parsed = parse_repository_url(url, allowed_hosts=(github_host,), allow_local=True)
    except RepositoryNotAllowed:
        return None
    if parsed.authority != github_host or not parsed.owner or "/" in parsed.owner:
        return None
    return f"{parsed.owner}/{parsed.name}"


def github_addresses(full_name: str, github_host: str) -> tuple[str, ...]:
    """Return the addresses, in lower case, under which clients may have stored a repository."""
    schemes, endings = ("https", "http"), ("", ".git")
    plain = f"{github_host}/{full_name}".lower()
    return tuple(f"{scheme}://{plain}{ending}" for scheme in schemes for ending in endings)


def validate_branch(name: str) -> str:
    """Return the name if `git check-ref-format --branch` accepts it unchanged.

    Raises `InvalidBranch` otherwise.
    """
    rule = broken_branch_rule(name)
    if rule is not None:
        raise InvalidBranch(f"The branch name {rule}. Send the name of a branch, such as main.")
    return name


def _refuse_suspicious(text: str) -> None:
    if not text or len(text) > MAX_URL_CHARACTERS:
        raise RepositoryNotAllowed(
            f"The repository address must have 1 to {MAX_URL_CHARACTERS} characters. {EXAMPLE}"
        )
    # Paths on this machine may contain spaces; other addresses may not.
    is_local = text.startswith(("/", "file:"))
    unspaced = text.replace(" ", "") if is_local else text
    if any(character.isspace() or not character.isprintable() for character in unspaced):
        raise RepositoryNotAllowed(
            f"The repository address contains spaces or control characters. {EXAMPLE}"
        )
    if text.startswith("-") or "\\" in text or re.match(r"[A-Za-z0-9+.-]+::", text):
        raise RepositoryNotAllowed(f"This form of repository address is not allowed. {EXAMPLE}")
    unescaped = text if is_local else text.replace("%20", "")
    if any(mark in unescaped for mark in "?#%"):
        raise RepositoryNotAllowed(
            f"Remove the query, the fragment and percent signs from the address. {EXAMPLE}"
        )


def _without_scheme(text: str, rules: HostRules) -> RepositoryUrl:
    match = _SCP_LIKE.fullmatch(text)
    if match is None:
        authority, _, path = text.partition("/")
        # A name with a dot is a host, as in github.com/owner/name; others are owners or folders.
        if "." not in authority[1:-1] or not path:
            raise RepositoryNotAllowed(f"The repository address is not complete. {EXAMPLE}")
    else:
        user, name, path = match.groups()
        authority = f"{user}@{name}"
    host, port = _split_authority(authority)
    return _remote("https", host, port, path, rules)


def _split_authority(authority: str) -> tuple[str, int | None]:
    user, separator, place = authority.rpartition("@")
    if separator:
        _refuse_user(user)
    match = _HOST_AND_PORT.fullmatch(place)
    if match is None:
        raise RepositoryNotAllowed(f"The repository address has no usable host. {EXAMPLE}")
    host = canonical_host(match[1])
    port = int(match[2]) if match[2] else None
    if port is not None and not 1 <= port <= 65535:  # noqa: PLR2004
        raise RepositoryNotAllowed("The port in the repository address is not between 1 and 65535.")
    return host, port


def _refuse_user(user: str) -> None:
    """Accept the plain user names of clone buttons, which nobody needs; refuse all others."""
    if not _USER.fullmatch(user) or _TOKEN.match(user):
        raise RepositoryNotAllowed(
            "The repository address contains a user name or a token before the @. Remove it, and "
            "send a token as github_token."
        )


def _remote(scheme: str, host: str, port: int | None, path: str, rules: HostRules) -> RepositoryUrl:
    if port == DEFAULT_PORTS[scheme]:
        port = None
    place = _usual_place(Place(scheme, host, port), rules)
    rules.check_name(place)
    host = place.host
    segments, branch = repository_of_page(host, path.strip("/").split("/"))
    name = segments[-1].removesuffix(".git") if segments else ""
    well_formed = all(_SEGMENT.fullmatch(part) and part not in {".", ".."} for part in segments)
    if not well_formed or name in {"", ".", ".."}:
        raise RepositoryNotAllowed(f"The repository address does not name a repository. {EXAMPLE}")
    if has_site_rules(host) and len(segments) < 2:  # noqa: PLR2004
        raise RepositoryNotAllowed(
            f"The repository address does not name an owner and a repository. {EXAMPLE}"
        )
    # On other servers the suffix may be part of the name. GitHub accepts both spellings; using only
    # one prevents two projects for one repository.
    last = name if host == "github.com" else segments[-1]
    owner = "/".join(segments[:-1])
    return RepositoryUrl(
        url="/".join([f"{scheme}://{place.authority}", *segments[:-1], last]),
        scheme=scheme,
        host=host,
        port=port,
        owner=owner,
        name=name,
        is_local=False,
        branch=branch,
    )


def _usual_place(place: Place, rules: HostRules) -> Place:
    """Return the place under whose usual name a host serves its repositories."""
    if rules.names(place):
        return place
    host = SSH_HOSTS.get(place.host, place.host)
    plain = replace(place, host=host.removeprefix("www."))
    is_usual = has_site_rules(plain.host) or rules.names(plain)
    return plain if is_usual else replace(place, host=host)


def _local(path: str, *, allow_local: bool) -> RepositoryUrl:
    if not allow_local:
        raise RepositoryNotAllowed(
            f"This server does not clone from its own disk. {EXAMPLE} "
            "For development without cloud sandboxes, ALLOW_LOCAL_REPOS=true allows it."
        )
    segments = [part for part in path.split("/") if part]
    if not path.startswith("/") or not segments or not {".", ".."}.isdisjoint(segments):
        raise RepositoryNotAllowed(
            "A local repository is an absolute path without '.' and '..', such as /srv/git/demo."
        )
    return RepositoryUrl(
        url="file:///" + "/".join(segments),
        scheme="file",
        host="",
        port=None,
        owner="local",
        name=segments[-1].removesuffix(".git") or segments[-1],
        is_local=True,
    )
