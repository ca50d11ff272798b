"""Opens isolated sandboxes: local ones with a boundary around their commands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from utils.config.proxies import BYPASS_VARIABLE
from utils.config.settings import ENV_FILE, Settings, inherited_environment, proxies
from utils.errors import SandboxError
from utils.git.hosts import Place, Reach, name_reach
from utils.models.environments import NetworkPolicy
from utils.sandboxes.isolated.boundary import IsolatedBoundary
from utils.sandboxes.isolated.kind import ISOLATED_SANDBOX
from utils.sandboxes.isolated.network import NetworkRules
from utils.sandboxes.isolated.proxy import Proxy
from utils.sandboxes.isolated.registries import Registries, find_registries
from utils.sandboxes.isolated.view import View, search_path
from utils.sandboxes.local.boundary import Boundary
from utils.sandboxes.local.commands import PROJECT
from utils.sandboxes.local.provider import LocalSandboxProvider, open_local
from utils.sandboxes.protocol import SandboxRequest
from utils.sandboxes.separation.private_network import PROXY_ADDRESS

_PROXY_URL = "http://{}:{}".format(*PROXY_ADDRESS)
_PROXIED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")


def open_isolated(settings: Settings) -> LocalSandboxProvider:
    """Return the provider of isolated sandboxes, as the settings describe them."""
    inherited = inherited_environment()
    view = build_view(settings, inherited)
    variables = {name: inherited[name] for name in inherited.keys() - proxies().keys()}
    variables["PATH"] = search_path(view, [program_folder(settings)], inherited.get("PATH", ""))
    registries = registries_of(settings)

    def new_boundary(root: Path, request: SandboxRequest) -> Boundary:
        rules = network_rules(settings, request, registries)
        environment = {
            "TMPDIR": "/tmp",  # noqa: S108 - its own
            **proxy_environment(rules),
            **dict(registries.environment),
        }
        return IsolatedBoundary(root, view, environment, Proxy(rules))

    return open_local(settings, variables, ISOLATED_SANDBOX, new_boundary)


def build_view(settings: Settings, inherited: Mapping[str, str]) -> View:
    """Return what sandboxes see of this machine; the server's own files are not part of it."""
    certificates = [inherited[name] for name in _CERTIFICATE_VARIABLES if name in inherited]
    readable = (*settings.isolated_readable_paths, *certificates)
    mirrors = settings.mirrors_path
    return View(
        readable=[settings.programs_path.absolute(), *map(Path, readable)],
        hidden=[
            settings.data_dir.absolute(),
            *([mirrors.absolute()] if mirrors else []),
            PROJECT,
            Path(ENV_FILE).absolute(),
        ],
    )


def program_folder(settings: Settings) -> Path:
    """Return the folder with the commands of the installed agents."""
    return settings.programs_path.absolute() / "node_modules" / ".bin"


def registries_of(settings: Settings) -> Registries:
    """Return the package registries that sandboxes may use. Blocks, the first time."""
    if settings.isolated_network == "none" or not settings.isolated_allow_registries:
        return Registries()
    inherited = inherited_environment()
    return find_registries(
        tuple((name, inherited[name]) for name in inherited.keys() - proxies().keys())
    )


def network_rules(
    settings: Settings, request: SandboxRequest, registries: Registries
) -> NetworkRules:
    """Return the rules for the connections of a sandbox. Raises `SandboxError`."""
    network = settings.isolated_network
    git_hosts = [host for host in settings.allowed_git_hosts if host != "*"]
    more = settings.isolated_allowed_hosts if network != "none" else ()
    named = [*git_hosts, *more, *registries.chosen]
    public = list(request.model_hosts)
    for place in filter(None, map(Place.of, request.repo_urls)):
        is_here = name_reach(place.host) is Reach.LOOPBACK and settings.local_repos_allowed
        (named if is_here else public).append(place.authority)
    usual = (*public, *registries.usual)
    rules = NetworkRules(tuple(named), usual, is_open=network == "open")
    needed = (*git_hosts, *public)
    return _narrowed(rules, needed, request.network) if request.network else rules


def _narrowed(rules: NetworkRules, needed: Collection[str], policy: NetworkPolicy) -> NetworkRules:
    """Return the rules as a project narrows them. Raises `SandboxError` for wider ones.

    No task can work without the hosts that are `needed`.
    """
    if policy.mode == "open":
        if not rules.is_open:
            raise _too_wide()
        return rules
    # As rules name them: without the usual port.
    wanted = [host.removesuffix(":443") for host in policy.hosts]
    if not all(_is_allowed(rules, host) for host in wanted):
        raise _too_wide()
    named = [host for host in rules.named if host in needed or host in wanted]
    public = [host for host in rules.public if host in needed]
    return NetworkRules(tuple(named), (*public, *wanted), is_open=False)


def _is_allowed(rules: NetworkRules, host: str) -> bool:
    if rules.is_open or host in rules.named:
        return True
    place = None if host.startswith("*.") else Place.of(f"https://{host}")
    return place is not None and rules.allows_name(place)


def _too_wide() -> SandboxError:
    return SandboxError(
        "The operator of this server lets sandboxes reach fewer hosts than network of the project "
        "asks for. Ask for less, or have the operator change ISOLATED_NETWORK or "
        "ISOLATED_ALLOWED_HOSTS.",
        "network_policy_refused",
    )


def proxy_environment(rules: NetworkRules) -> Mapping[str, str]:
    """Return the variables that send programs to the proxy, in both spellings.

    They reach servers of their own in the sandbox without it, unless the rules name this machine.
    """
    is_named = {host for host in _LOOPBACK if any(_host(one) == host for one in rules.named)}
    variables = {
        **dict.fromkeys(_PROXIED, _PROXY_URL),
        BYPASS_VARIABLE: ",".join(host for host in _LOOPBACK if host not in is_named),
    }
    return variables | {name.lower(): value for name, value in variables.items()}


def _host(entry: str) -> str:
    return entry.partition("]")[0].strip("[") if entry.startswith("[") else entry.partition(":")[0]
