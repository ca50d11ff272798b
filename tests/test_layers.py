"""Imports point only downwards, and a few things happen in one place only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.source_files import ROOT, module_name, python_files

# From the bottom to the top; no layer knows those above it. A module belongs to the first pattern
# that fits it.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "utils",
        "utils.settings",
        "utils.settings_*",
        "utils.errors",
        "utils.models*",
        "utils.redaction",
        "utils.branch_names",
        "utils.env_example",
    ),
    (
        "database",
        "utils.database_*",
        "utils.migrate",
        "utils.supabase_sql",
        "utils.sandbox*",
        "utils.mirror",
        "utils.processes",
        "utils.agents*",
        "utils.data_lock",
        "utils.git",
        "utils.repository_url",
        "utils.github*",
        "utils.conventional_commits",
        "utils.pull_request_text",
        "utils.telemetry",
        "utils.tested_versions",
        "utils.deployment",
        "utils.e2b_*",
        "utils.vault",
    ),
    (
        "utils.pipeline",
        "utils.capture",
        "utils.capture_bundle",
        "utils.branch_push*",
        "utils.output",
        "utils.follow_agent",
        "utils.stop_request",
    ),
    (
        "utils.dispatcher",
        "utils.fair_queue",
        "utils.task_result",
        "utils.task_run",
        "utils.run_parts",
        "utils.task_attempt",
        "utils.assignments",
        "utils.profiles",
        "utils.user_tokens",
        "utils.pull_request*",
        "utils.start_gate",
        "utils.start_pace",
        "utils.pipeline_limits",
        "utils.recovery",
        "utils.kept_results",
        "utils.neighbours",
        "utils.result_store",
        "utils.cancellation",
        "utils.event_log",
        "utils.async_bridge",
        "utils.request_threads",
    ),
    (
        "auth",
        "utils.tokens",
        "utils.supabase_tokens",
        "utils.supabase_keys",
        "utils.api*",
        "utils.openapi",
        "utils.http_hooks",
        "utils.legacy_tasks",
        "utils.caller_github",
        "utils.repository_service",
        "utils.webhook_*",
    ),
    ("tasks", "projects", "pull_requests", "github_routes", "webhooks", "health", "*users"),
    ("main", "utils.server", "utils.template", "utils.rotate_keys", "utils.doctor*"),
)

# Imports inside one layer, each because one thing has become several files: (who, what).
SIDEWAYS: tuple[tuple[str, str], ...] = (
    ("utils.models", "utils.errors"),
    ("utils.models_users", "utils.models"),
    ("utils.env_example", "utils.settings"),
    ("utils.settings_errors", "utils.settings"),
    ("utils.settings", "utils.settings_cloud"),
    ("utils.settings", "utils.settings_limits"),
    ("utils.settings", "utils.settings_supabase"),
    ("utils.settings", "utils.settings_github"),
    ("utils.settings*", "utils.settings_addresses"),
    ("utils.settings_github", "utils.branch_names"),
    ("utils.github*", "utils.github*"),
    ("utils.pull_request_text", "utils.conventional_commits"),
    ("database", "utils.database_*"),
    ("utils.database_sql", "utils.deployment"),
    ("utils.database_supabase", "utils.deployment"),
    ("utils.database_*", "utils.database_*"),
    ("utils.database_sql", "utils.migrate"),
    ("utils.database_supabase", "utils.migrate"),
    ("utils.migrate", "utils.database_*"),
    ("utils.supabase_sql", "utils.migrate"),
    ("utils.e2b_advice", "utils.e2b_errors"),
    ("utils.sandbox_*", "utils.sandbox"),
    ("utils.sandbox_local", "utils.mirror"),
    ("utils.sandbox_e2b*", "utils.sandbox_e2b*"),
    ("utils.sandbox_e2b*", "utils.e2b_errors"),
    ("utils.sandbox_e2b*", "utils.deployment"),
    ("utils.sandbox_e2b*", "utils.tested_versions"),
    ("utils.sandbox_local", "utils.processes"),
    ("utils.sandbox_local", "utils.sandbox_local_files"),
    ("utils.sandbox_local_files", "utils.processes"),
    ("utils.agents*", "utils.agents*"),
    ("utils.agents*", "utils.sandbox"),
    ("utils.pipeline", "utils.capture"),
    ("utils.pipeline", "utils.output"),
    ("utils.pipeline", "utils.follow_agent"),
    ("utils.pipeline", "utils.stop_request"),
    ("utils.capture", "utils.capture_bundle"),
    ("utils.branch_push*", "utils.branch_push*"),
    ("utils.follow_agent", "utils.output"),
    ("utils.dispatcher", "utils.async_bridge"),
    ("utils.dispatcher", "utils.fair_queue"),
    ("utils.dispatcher", "utils.task_run"),
    ("utils.dispatcher", "utils.task_result"),
    ("utils.dispatcher", "utils.start_gate"),
    ("utils.start_gate", "utils.start_pace"),
    ("utils.dispatcher", "utils.pipeline_limits"),
    ("utils.dispatcher", "utils.recovery"),
    ("utils.recovery", "utils.task_result"),
    ("utils.dispatcher", "utils.neighbours"),
    ("utils.dispatcher", "utils.cancellation"),
    ("utils.dispatcher", "utils.kept_results"),
    ("utils.cancellation", "utils.task_result"),
    ("utils.run_parts", "utils.kept_results"),
    ("utils.task_run", "utils.result_store"),
    ("utils.result_store", "utils.kept_results"),
    ("utils.result_store", "utils.event_log"),
    ("utils.result_store", "utils.run_parts"),
    ("utils.result_store", "utils.task_result"),
    ("utils.run_parts", "utils.neighbours"),
    ("utils.task_run", "utils.assignments"),
    ("utils.task_run", "utils.run_parts"),
    ("utils.dispatcher", "utils.run_parts"),
    ("utils.run_parts", "utils.start_gate"),
    ("utils.task_run", "utils.start_gate"),
    ("utils.task_run", "utils.task_attempt"),
    ("utils.assignments", "utils.task_attempt"),
    ("utils.assignments", "utils.profiles"),
    ("utils.user_tokens", "utils.profiles"),
    ("utils.pull_request*", "utils.pull_request_*"),
    ("utils.pull_requests", "utils.user_tokens"),
    ("utils.task_attempt", "utils.event_log"),
    ("utils.task_run", "utils.event_log"),
    ("utils.task_run", "utils.task_result"),
    ("auth", "utils.api*"),
    ("auth", "utils.tokens"),
    ("utils.tokens", "utils.supabase_tokens"),
    ("utils.supabase_tokens", "utils.supabase_keys"),
    ("utils.api*", "utils.api*"),
    ("utils.api*", "utils.tokens"),
    ("utils.api_docs", "utils.openapi"),
    ("utils.openapi", "utils.api*"),
    ("utils.http_hooks", "utils.api*"),
    ("utils.api_github", "utils.webhook_command"),
    ("utils.caller_github", "utils.api*"),
    ("utils.repository_service", "utils.api*"),
    ("utils.repository_service", "utils.caller_github"),
    ("utils.webhook_*", "utils.webhook_*"),
    ("utils.webhook_*", "utils.api"),
    ("utils.webhook_*", "utils.caller_github"),
    ("utils.webhook_pulls", "utils.repository_service"),
    ("main", "utils.server"),
    ("utils.doctor*", "utils.doctor_*"),
)

# Programs beside the server; the server imports none of them.
PROGRAMS = ("benchmarks*", "demo*", "migrations*", "tests*")

ALL_FILES = python_files()
SERVER_FILES = [
    path for path in ALL_FILES if not any(fnmatchcase(module_name(path), p) for p in PROGRAMS)
]
SETTINGS_FILE = Path("utils/settings.py")
BUILT_IN_MAIN = frozenset(
    {"Flask", "Services", "Dispatcher", "AsyncBridge", "Tokens", "Redactor", "Metrics", "GitHubApp"}
)
SERVER_MODULES = frozenset(module_name(path) for path in SERVER_FILES)


def layer(module: str) -> int:
    """Return the number of a module's layer, 0 at the bottom."""
    for number, patterns in enumerate(LAYERS):
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return number
    raise LookupError(f"{module} has no layer: add it to LAYERS in tests/test_layers.py")


def may_import(importer: str, imported: str) -> bool:
    """Whether this import goes downwards, or sideways where that is allowed."""
    if layer(imported) < layer(importer):
        return True
    return layer(imported) == layer(importer) and any(
        fnmatchcase(importer, who) and fnmatchcase(imported, what) for who, what in SIDEWAYS
    )


def nodes(path: Path) -> Iterator[ast.AST]:
    """Return everything in a file."""
    return ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))


def imports(path: Path) -> Iterator[str]:
    """Yield the absolute names of what a file imports; relative imports are not used here."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """Return the server's modules that a file imports."""
    found = set()
    for name in imports(path):
        for candidate in (name, name.rpartition(".")[0]):
            if candidate in SERVER_MODULES:
                found.add(candidate)
                break
    return found


@pytest.mark.parametrize("path", SERVER_FILES, ids=str)
def test_imports_point_downwards(path: Path) -> None:
    importer = module_name(path)
    wrong = {name for name in own_imports(path) - {importer} if not may_import(importer, name)}
    assert wrong == set()


def test_imports_form_no_circle() -> None:
    graph = {module_name(path): own_imports(path) - {module_name(path)} for path in SERVER_FILES}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", SERVER_FILES, ids=str)
def test_the_server_imports_no_program(path: Path) -> None:
    tops = {name.partition(".")[0] for name in imports(path)}
    assert tops.isdisjoint({"benchmarks", "demo", "tests"})


def test_the_demonstration_is_only_a_client() -> None:
    for path in ALL_FILES:
        if module_name(path).partition(".")[0] == "demo":
            assert own_imports(path) == set()


@pytest.mark.parametrize("path", sorted({*SERVER_FILES} - {SETTINGS_FILE}), ids=str)
def test_only_settings_read_the_environment(path: Path) -> None:
    read = [
        node.lineno
        for node in nodes(path)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert read == []
    assert {"os.environ", "os.getenv"}.isdisjoint(imports(path))


@pytest.mark.parametrize("path", sorted({*SERVER_FILES} - {Path("main.py")}), ids=str)
def test_only_main_builds_things(path: Path) -> None:
    called = {
        node.func.id
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    own = {node.name for node in nodes(path) if isinstance(node, ast.ClassDef)}
    assert called & BUILT_IN_MAIN <= own
