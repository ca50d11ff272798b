"""A request to GitHub ends in time and in size, however the answer comes."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.backends import wait_for
from tests.conftest import MakeApp
from tests.fakes.github.server import TRICKLE_SECONDS
from tests.fakes.github.service import FakeGitHub
from tests.github_app import Caller
from tests.github_names import NAME, TOKEN
from tests.github_refusals import error_of
from utils.errors import AppError
from utils.github import GitHub

pytest_plugins = ("tests.github_fixtures",)


@pytest.fixture(autouse=True)
def _trickling(github: FakeGitHub) -> Iterator[None]:
    github.released.clear()
    yield
    github.released.set()
    github.released.clear()


def outcome(api_url: str) -> AppError:
    """Return what asking for a repository ends with when an answer may take a second."""
    with GitHub(api_url, TOKEN, timeout_seconds=1) as client:
        return error_of(client.repository, NAME)


def test_an_answer_that_trickles_is_given_up_and_not_asked_for_again(
    make_app: MakeApp, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.pull_requests.STEP_SECONDS", 1)
    caller = Caller(make_app(github_api_url=github.api_url), str(uuid4()))
    github.fail("trickle", on="/user")
    github.fail("trickle_head", on="/repos/")
    with ThreadPoolExecutor(2) as threads:
        asking = threads.submit(outcome, github.api_url)
        checking = threads.submit(
            caller.client.post,
            "/api/validate-token",
            json={"github_token": TOKEN},
            headers=caller.headers,
        )
        # Until then the answers go on.
        wait_for(lambda: asking.done() and checking.done())
    assert asking.result().code == "github_unavailable"
    answer = checking.result()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "github_unavailable")
    assert sorted(github.paths()) == [f"GET /repos/{NAME}", "GET /user"]


@pytest.mark.parametrize(("name", "requests"), [("bomb", 1), ("flood", 2), ("not_ready", 1)])
def test_an_answer_without_end_is_not_read_to_it(
    github: FakeGitHub, alice: GitHub, name: str, requests: int
) -> None:
    github.fail(name)
    error = error_of(alice.repository, NAME)
    assert (error.code, error.http_status) == ("github_unavailable", 503)
    assert "try again later" in error.message
    assert len(github.requests) == requests


def test_an_answer_that_trickles_through_tls_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "certificate.pem"
    make_certificate(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with trickling_tls(certificate) as (port, was_asked), ThreadPoolExecutor(1) as threads:
        asking = threads.submit(outcome, f"https://127.0.0.1:{port}/api/v3")
        wait_for(asking.done)
        assert was_asked.is_set()
    assert asking.result().code == "github_unavailable"


def make_certificate(file: Path) -> None:
    """Write a key and a certificate for this machine's own address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    day = timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))


@contextmanager
def trickling_tls(certificate: Path) -> Iterator[tuple[int, Event]]:
    """Answer one connection a byte at a time until the block ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked, released = Event(), Event()

    def answer() -> None:
        connection, _ = listening.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(2**16)
                asked.set()
                secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not released.wait(TRICKLE_SECONDS):
                    secure.sendall(b" ")
        except OSError:
            """The client went away, as it should."""

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()[1], asked
        finally:
            released.set()
            thread.join()
