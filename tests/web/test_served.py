"""Browsers get the page where other clients get JSON, with a policy that lets nothing else in."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from flask.testing import FlaskClient

from tests.conftest import Headers
from utils.commands.vendor_page import LIBRARIES, LICENCES, MANIFEST
from utils.web.files import CONTENT_TYPES, PAGE_FOLDER
from utils.web.policy import content_policy

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"}
PLACES = ("/", "/tasks/1", "/groups/1", "/projects/", "/schedules", "/usage", "/settings")
OWN_FILES = sorted(
    path
    for path in PAGE_FOLDER.rglob("*")
    if path.suffix in {*CONTENT_TYPES, ".html"} and "vendor" not in path.parts
)
MAX_LINES = 400


@pytest.mark.parametrize("path", PLACES)
def test_a_browser_gets_the_page_and_other_clients_the_answer_of_before(
    client: FlaskClient, headers: Headers, path: str
) -> None:
    page = client.get(path, headers=BROWSER)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert page.headers["Cache-Control"] == "no-cache"
    again = client.get(path, headers={**BROWSER, "If-None-Match": page.headers["ETag"]})
    assert again.status_code == 304
    for accept in ("*/*", "application/json", "application/json, text/html", "text/plain"):
        answer = client.get(path, headers={**headers, "Accept": accept})
        assert answer.is_json
        assert "Accept" in answer.headers["Vary"]
    assert "Accept" in page.headers["Vary"]
    assert client.get(f"/api{path}", headers={**headers, **BROWSER}).is_json


@pytest.mark.parametrize("path", ["/tasks", "/task-status/1", "/tasks/0", "/keys", "/nowhere"])
def test_other_addresses_are_json_for_browsers_too(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers=BROWSER)
    assert answer.is_json
    assert "Accept" not in answer.headers.get("Vary", "")


def test_the_policy_allows_own_files_and_the_configured_project_only(client: FlaskClient) -> None:
    policy = client.get("/", headers=BROWSER).headers["Content-Security-Policy"]
    assert policy == content_policy(None)
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'self';" in policy
    with_project = content_policy("https://project.supabase.co/some/path")
    assert "connect-src 'self' https://project.supabase.co;" in with_project


def test_files_are_kept_by_browsers_and_found_by_their_hash_only(client: FlaskClient) -> None:
    page = client.get("/", headers=BROWSER).get_data(as_text=True)
    addresses = set(re.findall(r'"(/assets/[^"]+)"', page))
    assert len(addresses) > 20
    for address in addresses:
        file = client.get(address, headers={"Accept-Encoding": "gzip"})
        assert file.status_code == 200
        assert "immutable" in file.headers["Cache-Control"]
        assert file.headers["Content-Encoding"] == "gzip"
    main = next(one for one in addresses if one.endswith("/main.js"))
    assert client.get(main).get_data(as_text=True) == (PAGE_FOLDER / "main.js").read_text()
    digest = main.split("/")[2]
    for path in ("main.js", "../policy.py", "vendor/manifest.json", "index.html"):
        other = "0" * len(digest) if path == "main.js" else digest
        assert client.get(f"/assets/{other}/{path}").status_code == 404


def test_libraries_are_those_of_the_manifest_with_their_licences() -> None:
    entries = json.loads(MANIFEST.read_text())["libraries"]
    by_name = {entry["package"]: entry for entry in entries}
    assert sorted(by_name) == sorted(library.package for library in LIBRARIES)
    for library in LIBRARIES:
        for name in library.files.values():
            content = (library.folder / name).read_bytes()
            stated = by_name[library.package]["files"][name]["sha256"]
            assert hashlib.sha256(content).hexdigest() == stated, name
        assert by_name[library.package]["licence"]
        assert by_name[library.package]["version"]
    licensed = {path.stem for path in LICENCES.iterdir()}
    assert {name.removeprefix("@").replace("/", "-") for name in by_name} <= licensed


def test_own_files_are_short_and_name_no_other_host() -> None:
    texts = {path.name: path.read_text() for path in OWN_FILES}
    assert {name for name, text in texts.items() if len(text.splitlines()) > MAX_LINES} == set()
    hosts = {host for text in texts.values() for host in re.findall(r"https?://([\w.-]+)", text)}
    # An example in a field, and the name of a kind of file.
    assert hosts <= {"github.com", "www.w3.org"}
