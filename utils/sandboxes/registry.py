"""Lists the kinds of sandboxes that tasks can run in, and opens the provider of each.

Providers are imported when they are opened: an SDK may take most of a second to import, which
users of another sandbox should not wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utils.config.settings import Settings, inherited_environment
from utils.sandboxes.e2b.kind import E2B_SANDBOX
from utils.sandboxes.isolated.kind import ISOLATED_SANDBOX
from utils.sandboxes.local.kind import LOCAL_SANDBOX
from utils.sandboxes.protocol import SandboxKind, SandboxProvider


def _open_local(settings: Settings) -> SandboxProvider:
    from utils.sandboxes.local.provider import open_local

    return open_local(settings, inherited_environment())


def _open_isolated(settings: Settings) -> SandboxProvider:
    from utils.sandboxes.isolated.provider import open_isolated

    return open_isolated(settings)


def _open_e2b(settings: Settings) -> SandboxProvider:
    from utils.sandboxes.e2b.provider import E2BSandboxProvider

    return E2BSandboxProvider(settings)


SANDBOXES: Mapping[SandboxKind, Callable[[Settings], SandboxProvider]] = {
    LOCAL_SANDBOX: _open_local,
    ISOLATED_SANDBOX: _open_isolated,
    E2B_SANDBOX: _open_e2b,
}
"""The function that opens the provider of each kind."""


def choose_sandbox(settings: Settings) -> SandboxKind:
    """Return the kind of sandbox that the tasks of this deployment run in."""
    return next(kind for kind in SANDBOXES if kind.name == settings.sandbox_kind)


def open_provider(settings: Settings) -> SandboxProvider:
    """Open the provider of that kind."""
    return SANDBOXES[choose_sandbox(settings)](settings)


def uses_egress(settings: Settings) -> bool:
    """Return True when the sandboxes' network adds keys and tokens, so that no sandbox holds any.

    False for a kind whose network cannot do it, whatever SECRETS_MODE says.
    """
    return settings.secrets_mode == "egress" and choose_sandbox(settings).has_egress
