"""Builds E2B's network rules, which add keys and tokens to the requests of a sandbox."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from utils.errors import SandboxError
from utils.git.hosts import Place
from utils.sandboxes.protocol import EgressHeader, SandboxRequest

LONGEST_VALUE = 2048
"""The longest value of a header that E2B accepts in a rule."""

EGRESS_UNAVAILABLE = "egress_unavailable"

_WAY_OUT = "Set SECRETS_MODE=environment"


ALL_ADDRESSES = "0.0.0.0/0"


@dataclass(frozen=True, slots=True)
class Reachable:
    """The hosts that a sandbox may reach; None stands for all."""

    hosts: tuple[str, ...] | None = None

    @classmethod
    def of(cls, request: SandboxRequest) -> Reachable:
        """Return the hosts of a request: those of its policy, its repositories and its model."""
        policy = request.network
        if policy is None or policy.mode == "open":
            return cls()
        repositories = [place.host for place in map(Place.of, request.repo_urls) if place]
        hosts = [*policy.hosts, *request.model_hosts, *repositories]
        # E2B knows hosts, and no ports.
        return cls(tuple(sorted({host.partition(":")[0] for host in hosts})))


def network_options(headers: Collection[EgressHeader], reachable: Reachable) -> dict[str, Any]:
    """Return the network of a sandbox, as E2B takes it; empty for one without limits and rules.

    Raises `SandboxError` for what E2B does not accept.
    """
    options: dict[str, Any] = {"rules": egress_rules(headers)} if headers else {}
    if reachable.hosts is not None:
        options |= {"allow_out": list(reachable.hosts), "deny_out": [ALL_ADDRESSES]}
    return options


def egress_rules(headers: Collection[EgressHeader]) -> dict[str, Any]:
    """Return the rules that add the headers to requests (docs/e2b.md sections 7 and 11).

    Raises `SandboxError` for what E2B does not accept.
    """
    by_host: dict[str, dict[str, str]] = {}
    for header in headers:
        if _is_address(header.host):
            raise SandboxError(
                f"E2B's network rules need the name of a host, not an address. {_WAY_OUT}, or give "
                "the git host a DNS name.",
                EGRESS_UNAVAILABLE,
            )
        if len(header.value.encode()) > LONGEST_VALUE:
            raise SandboxError(
                f"E2B's network rules take values of {LONGEST_VALUE} bytes at most, and a key or "
                f"token of this task is longer. {_WAY_OUT}, or use a shorter one.",
                EGRESS_UNAVAILABLE,
            )
        by_host.setdefault(header.host, {})[header.name] = header.value
    # E2B takes one transformation for each host.
    return {host: [{"transform": {"headers": values}}] for host, values in by_host.items()}


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
