"""Decides where the connections of isolated sandboxes may lead.

A name is checked first, then every address that it resolves to; a connection goes to a checked
address only, so that a name that changes its address in between leads nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from utils.git.hosts import Address, Place, Reach, name_reach, reach_of


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """The rules of one sandbox.

    Entries are `host`, `host:port`, or `*.example.com` for all names below. A host without a port
    stands for the usual ports of http and https. Those of `named` are the operator's own words, so
    they may be in a private network, or on this machine when the name itself says so; those of
    `public` may not. With `is_open` every public host is allowed. A `*` names no host: the names
    below a public domain may be anybody's, and lead into the network around this machine.
    """

    named: Collection[str]
    public: Collection[str] = ()
    is_open: bool = False

    def allows_name(self, place: Place) -> bool:
        """Tell whether a host may be connected to, as far as its name tells."""
        return self.is_open or _has(self.named, place) or _has(self.public, place)

    def allowed_addresses(self, place: Place, addresses: Sequence[Address]) -> Sequence[Address]:
        """Return the addresses of a host with an allowed name that may be connected to."""
        permitted = {Reach.PUBLIC}
        if any(entry.lower() == place.authority for entry in self.named):
            permitted.add(Reach.PRIVATE)
            # The operator has named this machine or a special address itself.
            permitted.add(name_reach(place.host))
        return [address for address in addresses if reach_of(address) in permitted]


def _has(entries: Collection[str], place: Place) -> bool:
    return any(_matches(entry.lower(), place) for entry in entries)


def _matches(entry: str, place: Place) -> bool:
    if not entry.startswith("*."):
        return entry == place.authority
    name, _, port = entry[1:].partition(":")
    return place.host.endswith(name) and port == ("" if place.port is None else str(place.port))
