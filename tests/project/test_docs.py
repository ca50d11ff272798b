"""The pages under docs are true: links, endpoints, settings, error codes, samples."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.project.test_layers import LAYERS
from tests.support.markdown import (
    anchors,
    blocks,
    first_cells,
    links,
    markdown_files,
    prose,
    read_page,
)
from tests.support.source_files import ROOT
from tests.support.suite.error_codes import codes_raised, error_classes, server_sources, subclasses
from utils.api.error_codes.table import SECTIONS
from utils.commands.env_example import ENV_FILE, SETTINGS_FILE, env_example, settings_page
from utils.commands.error_reference import ERRORS_FILE, error_reference
from utils.commands.event_schema import SCHEMA_FILE, event_schema
from utils.config.settings import Settings
from utils.errors import BranchChanged, PushRefused, TaskError
from utils.github.refusal_rules import APP_PERMISSION
from utils.models.events import EVENT_DATA
from utils.models.usage import NO_USAGE
from utils.server.connection import KEEP_ALIVE_SECONDS
from utils.telemetry import Metrics
from utils.webhooks.delivery import MAX_BYTES

UTILS = ROOT / "utils"
PAGES = markdown_files()
ERRORS = [entries for _, _, entries in SECTIONS]
ALL_ERRORS = [entry for entries in ERRORS for entry in entries]

# Stands where codes stand, and is a key of what is stored.
NOT_CODES = frozenset(
    {"auto_pr", "secret_files", "installations_count", "sandbox_operations", "tree_hash"}
)
# A task that is stopped with it is put back, so it is stored nowhere.
NOT_SHOWN = frozenset({"shutdown"})
# Made from the name of what is missing, or from the name of an HTTP error.
COMPOSED = frozenset(
    {"comment_not_found", "issue_not_found", "pull_request_not_found", "bad_request"}
)

# Looks like a setting and is a variable of another program, or a value of a column.
NOT_SETTINGS = frozenset(
    {
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD",
        "CLAUDE_CODE_MAX_RETRIES",
        "CLAUDE_CODE_SUBPROCESS_ENV_SCRUB",
        "CLAUDE_CONFIG_DIR",
        "CODEX_API_KEY",
        "CODEX_HOME",
        "NODE_ENV",
        "E2B_API_URL",
        "E2B_DEBUG",
        "E2B_SANDBOX_URL",
        "FILE_DELETED",
        "FILE_NOT_EXISTS",
        "HTTPS_PROXY",
        "IS_SANDBOX",
        "NODE_EXTRA_CA_CERTS",
        "NODE_OPTIONS",
        "OPENAI_BASE_URL",
        "SSL_CERT_FILE",
        "TRUSTED_HOSTS",
    }
)
MENTION = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`")
ENV_LINE = re.compile(r"^([A-Z][A-Z0-9_]+)=", re.MULTILINE)


def codes_of_page(*titles: str) -> set[str]:
    """Return the codes in sections of the page of error codes."""
    sections = re.split(r"^## ", read_page("docs/errors.md"), flags=re.MULTILINE)
    chosen = [text for text in sections if text.partition("\n")[0] in titles]
    assert len(chosen) == len(titles)
    cells = (cell for text in chosen for cell in first_cells(text))
    return {re.sub(r"<a [^>]*></a>", "", cell).strip("`") for cell in cells} - {"Code"}


def paths_of_openapi() -> dict[str, set[str]]:
    """Return the methods of each path, without `/api`; names of variables are left out."""
    paths = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))["paths"]
    return {
        re.sub(r"{[^}]+}", "{}", path.removeprefix("/api")): {
            method.upper() for method in operations if method in {"get", "post", "put", "delete"}
        }
        for path, operations in paths.items()
    }


def endpoints_of_guide() -> set[str]:
    cells = first_cells(read_page("docs/api-guide.md"))
    return {
        re.sub(r"{\w+}", "{}", cell.strip("`"))
        for cell in cells
        if re.match(r"`(?:GET|POST|PUT|DELETE) ", cell)
    }


def test_the_page_of_settings_is_up_to_date() -> None:
    assert SETTINGS_FILE.read_text() == settings_page(), "python -m utils.commands.env_example"


def test_the_example_environment_lists_the_settings() -> None:
    assert ENV_FILE.read_text() == env_example(), "python -m utils.commands.env_example"


def test_each_setting_is_listed_once() -> None:
    names = [cell.strip("`") for cell in first_cells(settings_page())]
    listed = sorted(name for name in names if name != "Setting")
    assert listed == sorted(name.upper() for name in Settings.model_fields)


def test_the_page_of_error_codes_is_up_to_date() -> None:
    expected = error_reference()
    assert ERRORS_FILE.read_text() == expected, "python -m utils.commands.error_reference"


def test_the_schema_of_events_is_up_to_date() -> None:
    written = json.loads(SCHEMA_FILE.read_text())
    assert written == event_schema(), "python -m utils.commands.event_schema"


def test_each_kind_of_event_and_each_field_is_explained() -> None:
    page = read_page("docs/events.md")
    for kind, form in EVENT_DATA.items():
        rows = [line for line in page.splitlines() if line.startswith(f"| `{kind}` |")]
        assert rows, kind
        named = set(re.findall(r"`(\w+)`", " ".join(rows))) | {"failed", "parent_id"}
        assert set(form.__annotations__) <= named, kind


@pytest.mark.parametrize("entries", ERRORS)
def test_error_codes_are_in_order(entries: tuple[tuple[str, ...], ...]) -> None:
    codes = [entry[0] for entry in entries]
    assert codes == sorted(set(codes))


def test_each_error_code_of_a_task_has_a_remedy() -> None:
    sources = [path.read_text(encoding="utf-8") for path in sorted(UTILS.rglob("*.py"))]
    kinds: set[type[TaskError]] = {*subclasses(TaskError)}
    raised = {
        code
        for code in codes_raised(sources, {kind.__name__ for kind in kinds})
        if re.fullmatch(r"[a-z0-9_]+", code)
    }
    # Where a table or a function of its own chooses the code, it stands at the end of a line.
    pattern = r'^ +"((?:e2b|sandbox|clone|repo|agent|capture)_\w+)",?$'
    named = set(re.findall(pattern, "".join(server_sources()), re.MULTILINE))
    defaults = {kind.default_code for kind in kinds - {TaskError}}
    assert {"e2b_rate_limited", "agent_not_configured", "clone_timeout"} <= raised | named
    assert {"token_unreadable", "internal_error", "interrupted"} <= raised
    pages = "Tasks", "Pull requests", "GitHub", "Sandboxes", "All other endpoints"
    assert (raised | named | defaults) - codes_of_page(*pages) - NOT_SHOWN <= NOT_CODES
    assert defaults - codes_of_page("Tasks") == set()


def test_each_error_code_of_a_pull_request_has_a_remedy() -> None:
    places = ("push/*.py", "pull_requests/*.py", "credentials/github_resolver.py", "github/app*.py")
    files = [path for place in places for path in sorted(UTILS.glob(place))]
    sources = [path.read_text(encoding="utf-8") for path in files]
    # Codes stand at the end of a line, where tables and calls are wrapped.
    found = set(re.findall(r'[ (]"([a-z]+(?:_[a-z]+)+)",?\)?$', "\n".join(sources), re.MULTILINE))
    found |= {BranchChanged.default_code, PushRefused.default_code, "repository_not_on_github"}
    found |= {APP_PERMISSION}
    assert {"task_not_ended", "title_not_conventional", "push_too_large"} <= found
    assert found - codes_of_page("Pull requests", "GitHub") - NOT_CODES == set()


def test_each_error_code_of_an_answer_has_a_remedy_and_its_status() -> None:
    explained: dict[str, set[int | None]] = {}
    for entry in ALL_ERRORS:
        explained.setdefault(entry.code, set()).add(entry.status)
    raised = {
        code: statuses
        for code, statuses in codes_raised(server_sources()).items()
        if re.fullmatch(r"[a-z0-9_]+", code)
    }
    for kind in error_classes().values():
        raised.setdefault(kind.default_code, set()).add(kind.http_status)
    # `TaskError` itself is always raised with a code; a wrong setting is printed at the start.
    unexplained = raised.keys() - explained.keys() - NOT_SHOWN
    assert unexplained == {"configuration_error", "task_failed"}
    wrong = {
        code: (statuses, explained[code])
        for code, statuses in raised.items()
        # Errors of tasks are answered by no request, and keywords name no class.
        if code in explained and not statuses <= explained[code] | {None, TaskError.http_status}
    }
    assert wrong == {}


def test_each_explained_code_exists() -> None:
    quoted = set(re.findall(r'"([a-z0-9_]+)"', "".join(server_sources())))
    assert {entry.code for entry in ALL_ERRORS} - quoted - COMPOSED == set()


def test_the_guide_lists_the_endpoints() -> None:
    expected = {
        f"{method} {path}" for path, methods in paths_of_openapi().items() for method in methods
    }
    assert endpoints_of_guide() == expected


def test_endpoints_that_are_mentioned_exist() -> None:
    known = paths_of_openapi()
    mention = re.compile(r"`(GET|POST|PUT|DELETE) (/[^`\s]*)`")
    wrong = []
    for page in PAGES:
        # The page about E2B names E2B's own.
        text = "" if page.name == "e2b.md" else prose(read_page(page))
        for method, path in mention.findall(text):
            plain = re.sub(r"{\w+}", "{}", path)
            if "..." not in path and method not in known.get(plain, set()):
                wrong.append(f"{page}: {method} {path}")
    assert wrong == []


def test_settings_that_are_mentioned_exist() -> None:
    known = {name.upper() for name in Settings.model_fields}
    wrong = []
    for page in PAGES:
        text = read_page(page)
        names = set(MENTION.findall(prose(text)))
        for block in blocks(text, ""):
            names |= set(ENV_LINE.findall(block.text))
        wrong += [f"{page}: {name}" for name in sorted(names - known - NOT_SETTINGS)]
    assert wrong == []


def test_commands_that_are_mentioned_exist() -> None:
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    cases = re.findall(r"^ {8}(.*?)\)", script, re.MULTILINE)
    handled = set(re.findall(r"[a-z][a-z-]+", " ".join(cases)))
    for page in PAGES:
        for command in re.findall(r"\./run\.sh ([a-z][a-z-]*)", read_page(page)):
            assert command in handled, f"{page}: ./run.sh {command}"


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in links(read_page(page)):
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
                broken.append(f"{page}: {target}")
    assert broken == []


def test_files_that_are_mentioned_exist() -> None:
    pattern = re.compile(r"`((?:utils|tests|migrations|benchmarks|demo)[./][\w./]*\w)`")
    missing = []
    for page in PAGES:
        for name in pattern.findall(read_page(page)):
            path = name if "/" in name else name.replace(".", "/")
            exists = (ROOT / path).exists() or (ROOT / f"{path}.py").is_file()
            if not exists and path != "utils/agents/NAME.py":
                missing.append((page, name))
    assert missing == []


def test_each_page_can_be_reached() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            ahead += [page.parent / link.partition("#")[0] for link in links(page.read_text())]
    assert {ROOT / page for page in PAGES} - reached == set()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_commands_have_valid_syntax(shell: str) -> None:
    languages = ("sh", "bash") if shell == "bash" else ("sh",)
    for page in PAGES:
        for block in blocks(read_page(page), *languages):
            result = subprocess.run(
                [shell, "-n"], input=block.text, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, f"{page}: {block.text}{result.stderr}"


def test_json_is_json() -> None:
    for page in PAGES:
        for block in blocks(read_page(page), "json"):
            assert block.text.lstrip().startswith("{"), page


def test_architecture_names_the_layers_in_order() -> None:
    text = read_page("docs/architecture.md")
    packages = [name for row in LAYERS for name in row if name.startswith("utils.")]
    assert [name for name in packages if f"`{name}`" not in text] == []
    diagram = next(block.text for block in blocks(text, "mermaid") if "utils.errors" in block.text)
    rows = [re.findall(r"utils\.\w+", line) for line in diagram.splitlines()]
    shown = [set(row) for row in reversed(rows) if row]
    wanted = [{name for name in row if name.startswith("utils.")} for row in LAYERS]
    assert shown == [row for row in wanted if row]


def test_diagrams_are_of_a_known_kind() -> None:
    kinds = {"flowchart LR", "flowchart TD", "sequenceDiagram"}
    found = [block.text for page in PAGES for block in blocks(read_page(page), "mermaid")]
    assert {text.partition("\n")[0] for text in found} <= kinds
    assert len(found) >= 5


def test_the_decisions_are_listed() -> None:
    index = set(links(read_page("docs/decisions/README.md")))
    pages = {path.name for path in (ROOT / "docs/decisions").glob("*.md")}
    assert index == pages - {"README.md"}


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    metrics = Metrics()
    metrics.task_ended("failed", "claude", "agent_failed")
    metrics.agent_used("claude", {"input_tokens": 1}, 0.1)
    metrics.usage_recorded("claude", NO_USAGE)
    metrics.budget_reached("task", "stopped")
    metrics.webhook_delivered("ping")
    metrics.stage_finished("agent", 1.0)
    metrics.request_answered("GET", "/ping", 200, 0.1)
    text = metrics.render({("completed", "claude"): 1}).decode()
    names = set(re.findall(r"^(\w+)(?:{|\s)", text, re.MULTILINE))
    dashboard = json.loads((ROOT / "docs/grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"\b(?:async_code|process)_\w+", "\n".join(queries)))
    assert len(asked) >= 6
    assert asked - names == set()
    page = read_page("docs/operations.md")
    mentioned = set(re.findall(r"\b(?:async_code|process)_\w+", prose(page)))
    families = names | set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert mentioned - families == set()
    ours = set(re.findall(r"^# TYPE (async_code_\w+)", text, re.MULTILINE))
    assert {name for name in ours if not name.endswith("_created")} - mentioned == set()


def test_the_metrics_are_collected_from_the_port_of_the_server() -> None:
    (block,) = blocks(read_page("docs/operations.md"), "yaml")
    scrape = yaml.safe_load(block.text)
    assert scrape["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:8000"]


def test_the_proxy_fits_the_server() -> None:
    (text,) = [block.text for block in blocks(read_page("docs/operations.md"), "nginx")]
    assert text.count("{") == text.count("}")

    def value(name: str) -> int:
        return int(re.findall(rf"{name} (\d+)", text)[0])

    # A proxy that keeps connections longer than the server sends requests into closed ones.
    assert value("keepalive_timeout") < KEEP_ALIVE_SECONDS
    assert value("client_max_body_size") * 1024 * 1024 > MAX_BYTES
    assert value("proxy_read_timeout") > 30
    closed = re.search(r"location ~ (\S+) {\s+deny all;", text)
    assert closed is not None
    for path in ("/metrics", "/api/metrics", "/test-users", "/api/test-users/cleanup"):
        assert re.match(closed[1], path)
