"""Decides on which hosts repositories may be: by name, and by the addresses behind the name.

A name is checked when a request arrives. Its addresses are checked before each git command that
uses the network, and git connects to these addresses only (see `pinned`), so that a name that
changes its address in between leads nowhere else.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from utils.errors import RepositoryNotAllowed

DEFAULT_PORTS = {"https": 443, "http": 80}
EXAMPLE = "Send an address such as https://github.com/owner/name."

Address = IPv4Address | IPv6Address

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
# The C library reads such a last label as a part of an IPv4 address: 2130706433, 0x7f000001, 127.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK_NAMES = frozenset(
    {"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}
)
_LOOPBACK_DOMAINS = (".localhost", ".localdomain", ".localdomain4", ".localdomain6")
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_BITS = 0xFFFF_FFFF


class Reach(IntEnum):
    """The reach of an address."""

    PUBLIC = 0
    PRIVATE = 1
    """A network of an organization, such as 10.0.0.0/8."""

    LOOPBACK = 2
    SPECIAL = 3
    """Link-local, where clouds serve credentials; multicast; reserved."""


@dataclass(frozen=True, slots=True)
class Place:
    """Scheme, host and port of a canonical URL; `port` is None for the default one."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, url: str) -> Place | None:
        """Return the place of a URL, None for a repository on this machine's disk."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS:
            return None
        host = parts.hostname or ""
        return cls(parts.scheme, f"[{host}]" if ":" in host else host, parts.port)

    @property
    def connected_port(self) -> int:
        """The port that a connection uses."""
        return self.port or DEFAULT_PORTS[self.scheme]

    @property
    def authority(self) -> str:
        """The host, with its port unless it is the default one."""
        return self.host if self.port is None else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostRules:
    """The hosts that repositories may be on.

    `allowed` holds entries of ALLOWED_GIT_HOSTS: `host`, `host:port` or `*`, in any case. A host
    that is named may be in a private network; `*` stands for public hosts only. `allow_local`
    allows this machine.
    """

    allowed: Collection[str]
    allow_local: bool

    def names(self, place: Place) -> bool:
        """Tell whether an entry names this host."""
        return place.authority in {entry.lower() for entry in self.allowed}

    def check_name(self, place: Place) -> None:
        """Check a canonical host before it is resolved. Raises `RepositoryNotAllowed`."""
        reach = name_reach(place.host)
        if reach is Reach.LOOPBACK and self.allow_local:
            return
        if place.scheme == "http":
            raise RepositoryNotAllowed(f"http:// sends tokens unencrypted; use https://. {EXAMPLE}")
        if self.names(place) or ("*" in self.allowed and reach is Reach.PUBLIC):
            return
        allowed = ", ".join(sorted(entry.lower() for entry in self.allowed))
        raise RepositoryNotAllowed(
            "This server does not clone from the host in the repository address. "
            f"Hosts it clones from: {allowed}."
        )

    def check_addresses(self, place: Place, addresses: Collection[Address]) -> None:
        """Check what a host that passed `check_name` resolves to. Raises `RepositoryNotAllowed`."""
        is_named = self.names(place)
        is_public_name = name_reach(place.host) is Reach.PUBLIC
        # The operator has named this machine or a special address itself.
        if is_named and not is_public_name:
            return
        permitted = {Reach.PUBLIC} if is_public_name else set()
        if is_named:
            permitted.add(Reach.PRIVATE)
        if self.allow_local:
            permitted.add(Reach.LOOPBACK)
        if not permitted.issuperset(map(reach_of, addresses)):
            raise RepositoryNotAllowed(
                "The host in the repository address leads to a private or local network address. "
                "An administrator can allow private networks by naming the host in "
                "ALLOWED_GIT_HOSTS."
            )


def canonical_host(text: str) -> str:
    """Return a host in lower case, with IP addresses in their usual form.

    Raises `RepositoryNotAllowed` for an invalid one.
    """
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
        if _NUMBER.fullmatch(labels[-1]):
            return str(IPv4Address(host))
    except AddressValueError as error:
        raise RepositoryNotAllowed("The repository address has no usable host.") from error
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise RepositoryNotAllowed(f"The repository address has no usable host. {EXAMPLE}")
    return host


def resolve(place: Place) -> Sequence[Address]:
    """Return the addresses of a host, as the system prefers them. Blocks.

    Raises `OSError` when there are none.
    """
    try:
        found = socket.getaddrinfo(
            place.host.strip("[]"), place.connected_port, type=socket.SOCK_STREAM
        )
    except UnicodeError as error:  # a label of more than 63 characters
        raise OSError("the name has no address") from error
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return [_address(text) for text in texts]


def pinned(place: Place, addresses: Sequence[Address]) -> dict[str, str]:
    """Return the git setting that makes git connect to these addresses only (git 2.37, curl 7.57).

    A proxy resolves names itself; it decides what it connects to.
    """
    if not addresses or _is_address(place.host):
        return {}
    listed = ",".join(f"[{a}]" if isinstance(a, IPv6Address) else str(a) for a in addresses)
    return {"http.curloptResolve": f"{place.host}:{place.connected_port}:{listed}"}


def reach_of(address: Address) -> Reach:
    """Return how far an address reaches; an IPv4 address inside an IPv6 address decides."""
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return reach_of(inner)
    if address.is_loopback or address.is_unspecified:
        return Reach.LOOPBACK
    if address.is_link_local or address.is_multicast:
        return Reach.SPECIAL
    if address.is_global:
        return Reach.PUBLIC
    return Reach.SPECIAL if address.is_reserved else Reach.PRIVATE


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address.teredo:
        return address.teredo[1]
    inner = IPv4Address(int(address) & _IPV4_BITS)
    # IPv4-compatible addresses (::127.0.0.1); the numbers 0 and 1 are :: and ::1 themselves.
    is_compatible = 1 < int(address) <= _IPV4_BITS
    if is_compatible or address in _NAT64:
        return inner
    return address.ipv4_mapped or address.sixtofour


def name_reach(host: str) -> Reach:
    """Return how far a host reaches, as far as its name tells."""
    if _is_address(host):
        return reach_of(_address(host.strip("[]")))
    is_loopback = host in _LOOPBACK_NAMES or host.endswith(_LOOPBACK_DOMAINS)
    return Reach.LOOPBACK if is_loopback else Reach.PUBLIC


def _is_address(host: str) -> bool:
    return host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _address(text: str) -> Address:
    return IPv6Address(text) if ":" in text else IPv4Address(text)
