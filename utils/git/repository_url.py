"""Validates and parses repository URLs and branch names, for the whole server.

Both come from clients and become arguments of git, so everything that is not clearly a repository
or a branch is refused. Messages never quote the input: it may hold a token.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from utils.errors import InvalidBranch, RepositoryNotAllowed
from utils.git.branch_names import broken_branch_rule

MAX_URL_CHARACTERS = 2_000

_EXAMPLE = "Send an address such as https://github.com/owner/name."
_SEGMENT = re.compile(r"[A-Za-z0-9._~+-]+")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_SCP_LIKE = re.compile(r"([^@/:]+)@([^@/:]+):(?!//)(.+)")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"https": 443, "http": 80}


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
    and no SSH keys.
    """
    _refuse_suspicious(text)
    if text.startswith("/"):
        return _local(text, allow_local=allow_local)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _from_scp_like(text, allowed_hosts, allow_local=allow_local)
    scheme = scheme.lower()
    if scheme == "file":
        return _local(rest.removeprefix("localhost"), allow_local=allow_local)
    if scheme not in {"https", "http", "ssh"}:
        raise RepositoryNotAllowed(f"Only https:// and ssh:// addresses can be used. {_EXAMPLE}")
    authority, _, path = rest.partition("/")
    if scheme == "ssh":
        host, _port = _split_authority(authority.removeprefix("git@"))
        scheme, port = "https", None  # the https port need not match the SSH port
    else:
        host, port = _split_authority(authority)
    if port == _DEFAULT_PORTS[scheme]:
        port = None
    _refuse_host(scheme, host, port, allowed_hosts, allow_local=allow_local)
    return _remote(scheme, host, port, path)


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
    if parsed.authority != github_host or "/" in parsed.owner:
        return None
    return f"{parsed.owner}/{parsed.name}"


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
            f"The repository address must have 1 to {MAX_URL_CHARACTERS} characters. {_EXAMPLE}"
        )
    # Paths on this machine may contain spaces; other addresses may not.
    unspaced = text.replace(" ", "") if text.startswith(("/", "file:")) else text
    if any(character.isspace() or not character.isprintable() for character in unspaced):
        raise RepositoryNotAllowed("The repository address contains spaces or control characters.")
    if text.startswith("-") or "\\" in text or re.match(r"[A-Za-z0-9+.-]+::", text):
        raise RepositoryNotAllowed(f"This form of repository address is not allowed. {_EXAMPLE}")
    if any(mark in text for mark in "?#%"):
        raise RepositoryNotAllowed(
            f"Remove the query, the fragment and percent signs from the address. {_EXAMPLE}"
        )


def _from_scp_like(
    text: str, allowed_hosts: Collection[str], *, allow_local: bool
) -> RepositoryUrl:
    match = _SCP_LIKE.fullmatch(text)
    if match is None:
        raise RepositoryNotAllowed(f"The repository address is not complete. {_EXAMPLE}")
    user, host, path = match.groups()
    if user != "git":
        raise _userinfo_refused()
    host, _port = _split_authority(host)
    _refuse_host("https", host, None, allowed_hosts, allow_local=allow_local)
    return _remote("https", host, None, path)


def _userinfo_refused() -> RepositoryNotAllowed:
    return RepositoryNotAllowed(
        "The repository address contains a user name or a token. Remove it from the address "
        "and send the token as github_token."
    )


def _split_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise _userinfo_refused()
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None:
        raise RepositoryNotAllowed(f"The repository address has no usable host. {_EXAMPLE}")
    host = _checked_host(match[1])
    port = int(match[2]) if match[2] else None
    if port is not None and not 1 <= port <= 65535:  # noqa: PLR2004
        raise RepositoryNotAllowed("The port in the repository address is not between 1 and 65535.")
    return host, port


def _checked_host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if not host.isascii():
        raise RepositoryNotAllowed(
            "The host in the repository address is not plain ASCII. Names from other alphabets "
            "can imitate a trusted host. If the name is right, send its xn-- form."
        )
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        labels = host.split(".")
        if labels[-1].isdigit():
            return str(IPv4Address(host))
    except AddressValueError as error:
        raise RepositoryNotAllowed("The repository address has no usable host.") from error
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise RepositoryNotAllowed(f"The repository address has no usable host. {_EXAMPLE}")
    return host


def _refuse_host(
    scheme: str,
    host: str,
    port: int | None,
    allowed_hosts: Collection[str],
    *,
    allow_local: bool,
) -> None:
    if _is_loopback(host) and allow_local:
        return
    if scheme == "http":
        raise RepositoryNotAllowed(f"http:// sends tokens unencrypted; use https://. {_EXAMPLE}")
    allowed = {entry.lower() for entry in allowed_hosts}
    if (host if port is None else f"{host}:{port}") in allowed:
        return
    # `*` allows all hosts except this machine's loopback names. Other names are not resolved, even
    # if they lead to a private address: the operator chose to trust every host.
    if "*" in allowed and not _is_loopback(host):
        return
    raise RepositoryNotAllowed(
        "This server does not clone from the host in the repository address. "
        f"Hosts it clones from: {', '.join(sorted(allowed))}."
    )


def _is_loopback(host: str) -> bool:
    if host.startswith("["):
        address = IPv6Address(host[1:-1])
        mapped = address.ipv4_mapped
        return address.is_loopback or address.is_unspecified or bool(mapped and mapped.is_loopback)
    if host.rpartition(".")[2].isdigit():
        return IPv4Address(host).is_loopback or IPv4Address(host).is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _remote(scheme: str, host: str, port: int | None, path: str) -> RepositoryUrl:
    segments = path.strip("/").split("/")
    name = segments[-1].removesuffix(".git")
    well_formed = all(_SEGMENT.fullmatch(part) and part not in {".", ".."} for part in segments)
    if len(segments) < 2 or not well_formed or name in {"", ".", ".."}:  # noqa: PLR2004
        raise RepositoryNotAllowed(
            f"The repository address does not name an owner and a repository. {_EXAMPLE}"
        )
    # On other servers the suffix may be part of the name. GitHub accepts both spellings; using only
    # one prevents two projects for one repository.
    last = name if host == "github.com" else segments[-1]
    owner = "/".join(segments[:-1])
    authority = host if port is None else f"{host}:{port}"
    return RepositoryUrl(
        url=f"{scheme}://{authority}/{owner}/{last}",
        scheme=scheme,
        host=host,
        port=port,
        owner=owner,
        name=name,
        is_local=False,
    )


def _local(path: str, *, allow_local: bool) -> RepositoryUrl:
    if not allow_local:
        raise RepositoryNotAllowed(
            f"This server does not clone from its own disk. {_EXAMPLE} "
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
