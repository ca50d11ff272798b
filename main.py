"""Builds the application from its parts; `python main.py` runs the server."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

from flask import Flask

import auth
import github_routes
import health
import projects
import pull_requests
import tasks
import test_users
import users
import webhooks
from database import Database, open_database
from endpoints import (
    admin,
    events,
    keys,
    project_secrets,
    sandbox_git,
    sandboxes,
    schedules,
    task_groups,
    templates,
    turns,
    usage,
)
from utils.agents.registry import Agents
from utils.api import docs_page as api_docs
from utils.api.application import Application
from utils.api.endpoint import Services
from utils.api.middleware import IdConverter, NameConverter, VariableConverter, install_hooks
from utils.api.openapi.document import build_openapi, format_openapi
from utils.api.task_starts import start_scheduled
from utils.auth.api_keys import ApiKeys
from utils.auth.rate_limits import RateLimits
from utils.auth.tokens import Tokens
from utils.commands.command_line import CommandParser
from utils.config.settings import Settings, inherited_environment, proxies_with_password
from utils.credentials.github_resolver import GitHubTokenResolver
from utils.credentials.vault import Vault, encryption_keys, signing_key
from utils.dispatcher.admission import AdmissionController
from utils.dispatcher.async_bridge import AsyncBridge
from utils.dispatcher.dispatcher import Dispatcher
from utils.dispatcher.recovery import RecoveryRules
from utils.dispatcher.result_outbox import ResultOutbox
from utils.dispatcher.run_context import RunContext, max_running, pipeline_limits
from utils.dispatcher.sources.choice import settle_task_engine
from utils.dispatcher.sources.server_queue import ServerQueue
from utils.dispatcher.sources.source import Source
from utils.github.app import GitHubApp
from utils.github.concurrency import ConcurrencyLimiter
from utils.maintenance.data_lock import lock_data_folder
from utils.pull_requests.automatic import AutomaticPullRequests
from utils.pull_requests.service import PullRequests, pushes_folder
from utils.push.push import remove_leftovers
from utils.redaction import Redactor
from utils.sandbox_service.context import ServiceContext
from utils.sandbox_service.publishing import Publisher
from utils.sandbox_service.recorded import RecordedProvider
from utils.sandbox_service.service import SandboxService
from utils.sandboxes.protocol import SandboxKind, SandboxProvider
from utils.sandboxes.registry import open_provider
from utils.sandboxes.templates.catalogue import TemplateCatalogue
from utils.schedules.scheduler import Scheduler
from utils.server.entry import MEMBER, checked_settings, enter_group
from utils.server.group.parent_link import ParentLink
from utils.server.group.supervisor import supervise
from utils.server.preconditions import log_warnings
from utils.server.web_server import print_line, serve
from utils.server.worker import work
from utils.siblings.shared_metrics import SharedMetrics
from utils.streams.reading import StreamContext
from utils.streams.tickets import StreamTickets
from utils.telemetry import Metrics, configure_logging
from utils.usage.budgets import Budgets
from utils.usage.prices import Prices
from utils.usage.tracker import UsageContext
from utils.web import serving as page
from utils.webhooks.follower import TaskFollower

# Time that an earlier server needs to stop, in addition to the grace time of its tasks.
LOCK_WAIT_SECONDS = 5


def create_app(
    settings: Settings, database: Database | None = None, link: ParentLink | None = None
) -> Flask:
    """Build the application and start the tasks that are queued.

    `stop_app` stops it; a database that is passed in stays open. With a `link` it belongs to one
    of several processes. Raises `ConfigurationError` and `DatabaseUnavailable`.
    """
    with _lifetime() as lifetime:
        services = _open_services(settings, database, lifetime, link, must=not settings.work)
        app = build_flask(services)
        _start_work(services, lifetime)
        services.sandboxes.start()
        lifetime.callback(services.sandboxes.stop)
        if settings.webhook_tasks and (link is None or link.member.is_first):
            follower = TaskFollower(services)
            follower.start()
            lifetime.callback(follower.stop)
    return app


def create_worker(settings: Settings, link: ParentLink | None = None) -> Services:
    """Build the parts that run tasks, without HTTP, and start the tasks that wait.

    `Services.stop` stops them. Raises `ConfigurationError` and `DatabaseUnavailable`.
    """
    with _lifetime() as lifetime:
        services = _open_services(settings, None, lifetime, link, must=True)
        _start_work(services, lifetime)
    return services


def _start_work(services: Services, lifetime: ExitStack) -> None:
    services.dispatcher.recover()
    lifetime.callback(services.dispatcher.stop)
    services.automatic_pull_requests.start()
    lifetime.callback(services.automatic_pull_requests.stop)
    scheduler = Scheduler(services.database, partial(start_scheduled, services))
    scheduler.start()
    lifetime.callback(scheduler.stop)


@contextmanager
def _lifetime() -> Iterator[ExitStack]:
    """Yield what ends the parts of a process; end them if the block raises."""
    lifetime = ExitStack()
    try:
        yield lifetime
    except BaseException:
        lifetime.close()
        raise


def _open_services(
    settings: Settings,
    database: Database | None,
    lifetime: ExitStack,
    link: ParentLink | None,
    *,
    must: bool,
) -> Services:
    wait_seconds = settings.shutdown_grace_seconds + LOCK_WAIT_SECONDS
    lifetime.enter_context(lock_data_folder(settings.data_dir, wait_seconds))
    if database is None:
        database = open_database(settings)
        lifetime.callback(database.close)
    settings = settle_task_engine(settings, database, must=must)
    services = _build_services(settings, database, lifetime, link)
    if link:
        shared = SharedMetrics(link.member, services.metrics.registry)
        shared.start()
        lifetime.callback(shared.stop)
        services.metrics.show(shared)
        services.dispatcher.on_added = link.report_task
    return services


def _build_services(
    settings: Settings, database: Database, lifetime: ExitStack, link: ParentLink | None
) -> Services:
    redactor = _redactor_of(settings)
    configure_logging(settings, redactor.redact, link.member.name if link else None)
    log_warnings(settings, database)
    provider = open_provider(settings)
    context = _build_run_context(settings, database, redactor, provider, lifetime)
    rate_limits = RateLimits(settings)
    tokens = Tokens(settings, database, rate_limits.check_sign_in)
    api_keys = ApiKeys(database)
    callers = auth.Callers(settings, database, tokens, api_keys)
    github_app = GitHubApp(settings) if settings.github_app_id else None
    github_tokens = GitHubTokenResolver(settings, database, context.vault, github_app)
    limiter = ConcurrencyLimiter(settings.request_threads)
    pulls, automatic_pulls = _build_pull_requests(context, github_tokens, limiter)
    return Services(
        settings=settings,
        database=database,
        dispatcher=Dispatcher(context),
        provider=context.provider,
        templates=TemplateCatalogue(context.provider, context.bridge.run),
        metrics=context.metrics,
        tokens=tokens,
        api_keys=api_keys,
        vault=context.vault,
        github_tokens=github_tokens,
        github_limiter=limiter,
        rate_limits=rate_limits,
        streams=StreamContext(settings, database),
        stream_tickets=StreamTickets(database),
        sandboxes=_build_sandboxes(context, provider, github_tokens, limiter),
        pull_requests=pulls,
        automatic_pull_requests=automatic_pulls,
        identify=callers.identify,
        identify_admin=callers.identify_admin,
        budgets=context.usage.budgets,
        clear_user_cache=callers.clear_user_cache,
        stop=lifetime.close,
    )


def _redactor_of(settings: Settings) -> Redactor:
    redactor = Redactor()
    keys = (signing_key(settings), *encryption_keys(settings))
    redactor.add(*settings.secrets, *(key.get_secret_value() for key in keys))
    return redactor


def _build_run_context(
    settings: Settings,
    database: Database,
    redactor: Redactor,
    provider: SandboxProvider,
    lifetime: ExitStack,
) -> RunContext:
    bridge = AsyncBridge()
    bridge.start()
    lifetime.callback(bridge.stop)
    metrics = Metrics()
    usage_context = UsageContext(
        database=database,
        budgets=Budgets(settings, database, metrics),
        prices=Prices(settings),
        metrics=metrics,
        sandbox_kind=provider.kind.name,
    )
    return RunContext(
        settings=settings,
        database=database,
        bridge=bridge,
        provider=RecordedProvider(provider, database),
        agents=Agents(settings),
        vault=Vault.open(settings),
        redactor=redactor,
        metrics=metrics,
        usage=usage_context,
        limits=pipeline_limits(settings, provider.kind),
        admission=AdmissionController(paced=provider.kind.is_paced),
        outbox=ResultOutbox(settings.data_dir),
        source=_build_source(settings, database, provider.kind),
    )


def _build_source(settings: Settings, database: Database, kind: SandboxKind) -> Source:
    rules = RecoveryRules.of(settings, survives=kind.survives)
    if settings.task_engine != "absurd":
        return ServerQueue(database, settings, rules)
    # An installation with SQLite needs nothing of it.
    from utils.dispatcher.sources.engine_queue import EngineQueue

    return EngineQueue(database, settings, rules, max_running(settings, kind))


def _build_sandboxes(
    context: RunContext,
    provider: SandboxProvider,
    tokens: GitHubTokenResolver,
    limiter: ConcurrencyLimiter,
) -> SandboxService:
    settings = context.settings
    service = ServiceContext(
        settings=settings,
        database=context.database,
        bridge=context.bridge,
        provider=provider,
        redactor=context.redactor,
        clone=context.limits.clone,
        capture=context.limits.capture,
        usage=context.usage,
    )
    publisher = Publisher(
        tokens=tokens,
        limiter=limiter,
        redactor=context.redactor,
        github_host=settings.github_host,
        work_folder=pushes_folder(settings),
        environment=inherited_environment() | proxies_with_password(),
    )
    return SandboxService(service, publisher)


def _build_pull_requests(
    context: RunContext, tokens: GitHubTokenResolver, limiter: ConcurrencyLimiter
) -> tuple[PullRequests, AutomaticPullRequests]:
    settings, database, redactor = context.settings, context.database, context.redactor
    remove_leftovers(pushes_folder(settings))
    environment = inherited_environment() | proxies_with_password()
    pulls = PullRequests(
        settings, database, tokens, redactor, environment, limiter, context.metrics
    )
    automatic = AutomaticPullRequests(database, pulls, context.vault, redactor, context.pull_is_due)
    return pulls, automatic


def build_flask(services: Services) -> Flask:
    """Return a Flask application that uses the given services."""
    app = declare_routes()
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_body_bytes
    app.extensions["services"] = services
    install_hooks(app, services)
    page.install_page(app, services)
    services.rate_limits.protect(app)
    return app


def declare_routes() -> Flask:
    """Return a Flask application with all routes and without services."""
    app, routes = Application("async-code", static_folder=None), _routes()
    app.url_map, app.blueprints = routes.url_map, routes.blueprints
    app.view_functions |= routes.view_functions
    for name, functions in routes.before_request_funcs.items():
        app.before_request_funcs[name] = [*functions]
    return app


@cache
def _routes() -> Flask:
    """Return an application that only holds the routes, which take long to compile."""
    app = Flask("async-code", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["id"] = IdConverter
    app.url_map.converters["name"] = NameConverter
    app.url_map.converters["variable"] = VariableConverter
    for module in (
        health, auth, projects, tasks, events, turns, task_groups, schedules, sandboxes,
        sandbox_git, pull_requests, github_routes, webhooks, users, keys, project_secrets, usage,
        admin, templates, test_users, api_docs, page,
    ):  # fmt: skip
        app.register_blueprint(module.blueprint)
    return app


def begin_stop_app(app: Flask) -> None:
    """Start no more tasks; let the grace time of the running ones begin while requests end."""
    services: Services = app.extensions["services"]
    services.dispatcher.begin_stop()


def stop_app(app: Flask) -> None:
    """Wait for running tasks during their grace time, then release all resources."""
    services: Services = app.extensions["services"]
    services.stop()


def main(arguments: Sequence[str] = ()) -> None:
    """Serve until a signal arrives; with `worker`, run tasks without HTTP.

    With the argument `openapi`, print the OpenAPI document.
    """
    command, rest = "".join(arguments[:1]), arguments[1:]
    if list(arguments) == ["openapi"]:
        print_line(format_openapi(build_openapi(declare_routes())))
    elif command == MEMBER:
        _run_member(*enter_group(rest))
    elif command == "worker":
        _parse("worker", "Run tasks without HTTP: see docs/operations.md.", rest)
        # The copied settings may be those of a server that leaves the tasks to its workers.
        settings = checked_settings("worker").model_copy(update={"work": True})
        configure_logging(settings, Redactor().redact)
        work(settings, lambda: create_worker(settings))
    else:
        _parse("serve", "Start the server.", arguments)
        settings = checked_settings("server")
        configure_logging(settings, Redactor().redact)
        if settings.http_processes > 1:
            program = [sys.executable, str(Path(__file__).resolve()), MEMBER]
            sys.exit(supervise(settings, program))
        serve(settings, lambda: create_app(settings), begin_stop_app, stop_app)


def _run_member(settings: Settings, link: ParentLink) -> None:
    configure_logging(settings, Redactor().redact, link.member.name)
    if link.member.is_worker:
        work(settings, lambda: create_worker(settings, link), link)
    else:
        serve(settings, lambda: create_app(settings, None, link), begin_stop_app, stop_app, link)


def _parse(name: str, text: str, arguments: Sequence[str]) -> None:
    epilog = "Settings come from the environment and from .env: PORT=8001 ./run.sh"
    CommandParser(name, text, epilog=epilog).parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
