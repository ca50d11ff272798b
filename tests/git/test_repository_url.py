"""Addresses of repositories that are understood, and those that are refused."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import RepositoryNotAllowed
from utils.git.hosts import Address, HostRules, Place, pinned
from utils.git.repository_url import (
    RepositoryUrl,
    parse_repository_url,
)

HOSTS = ("github.com", "gitlab.example.com", "git.example.com:8443")
SECRET = "ghp_hidden0123"


def parse(text: str, *, hosts: tuple[str, ...] = HOSTS, local: bool = False) -> RepositoryUrl:
    return parse_repository_url(text, allowed_hosts=hosts, allow_local=local)


@pytest.mark.parametrize(
    ("text", "url", "owner", "name"),
    [
        ("https://github.com/o/n", "https://github.com/o/n", "o", "n"),
        ("https://github.com/o/n.git", "https://github.com/o/n", "o", "n"),
        ("https://github.com/o/n/", "https://github.com/o/n", "o", "n"),
        ("HTTPS://GitHub.com./o/n", "https://github.com/o/n", "o", "n"),
        ("https://github.com:443/o/n", "https://github.com/o/n", "o", "n"),
        ("https://github.com/Some-Org/a.b_c-d", "https://github.com/Some-Org/a.b_c-d", None, None),
        ("git@github.com:o/n.git", "https://github.com/o/n", "o", "n"),
        ("git@github.com:/o/n", "https://github.com/o/n", "o", "n"),
        ("ssh://git@github.com/o/n.git", "https://github.com/o/n", "o", "n"),
        ("ssh://git@github.com:22/o/n", "https://github.com/o/n", "o", "n"),
        (
            "https://gitlab.example.com/group/sub/n.git",
            "https://gitlab.example.com/group/sub/n.git",
            "group/sub",
            "n",
        ),
        ("https://git.example.com:8443/o/n", "https://git.example.com:8443/o/n", "o", "n"),
        (" https://github.com/o/n\r\n", "https://github.com/o/n", "o", "n"),
        ("github.com/o/n", "https://github.com/o/n", "o", "n"),
        ("https://www.github.com/o/n", "https://github.com/o/n", "o", "n"),
        ("www.gitlab.example.com/o/n", "https://gitlab.example.com/o/n", "o", "n"),
        ("https://someone@github.com/o/n.git", "https://github.com/o/n", "o", "n"),
        ("ssh://someone@github.com/o/n", "https://github.com/o/n", "o", "n"),
        ("org-42@github.com:o/n", "https://github.com/o/n", "o", "n"),
        ("ssh://git@ssh.github.com:443/o/n.git", "https://github.com/o/n", "o", "n"),
        ("https://github.com/o/n/issues", "https://github.com/o/n", "o", "n"),
        ("https://github.com/o/n/settings/branches", "https://github.com/o/n", "o", "n"),
        ("https://github.com/o/n/tree", "https://github.com/o/n", "o", "n"),
        ("https://gitlab.example.com/n.git", "https://gitlab.example.com/n.git", "", "n"),
        ("git@gitlab.example.com:n.git", "https://gitlab.example.com/n.git", "", "n"),
        (
            "https://gitlab.example.com/g/s/n/-/issues/3",
            "https://gitlab.example.com/g/s/n",
            "g/s",
            "n",
        ),
    ],
)
def test_an_address_becomes_canonical(
    text: str, url: str, owner: str | None, name: str | None
) -> None:
    parsed = parse(text)
    assert parsed.url == url
    assert owner is None or (parsed.owner, parsed.name) == (owner, name)
    assert parse(parsed.url) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "https://github.com",
        "https://github.com/",
        "github.com/",
        "o/n",
        "./o/n.git",
        "https://github.com/o",
        "https://github.com//n",
        "https://github.com/o//n",
        "https://github.com/o/.git",
        "https://github.com/o/..",
        "https://github.com/../o/n",
        "https://github.com/./n",
        "https://github.com/o/.",
        "https://github.com/o/..git",
        "https://github.com/o/...git",
        "git@evil.example:o/n",
        "ssh://git@evil.example/o/n",
        "https://github.com/o/n?x=1",
        "https://github.com/o/n#x",
        "https://github.com/o/%2e%2e",
        "https://github.com/o/n n",
        "https://github.com/o/n\0",
        "https://github.com\\@evil.example/o/n",
        "https://evil.example/o/n",
        "https://github.com.evil.example/o/n",
        "https://evilgithub.com/o/n",
        "https://github.com:8443/o/n",
        "https://git.example.com/o/n",
        "https://github.com:0/o/n",
        "https://github.com:99999/o/n",
        "https://github.com:/o/n",
        "https:///o/n",
        "https://-github.com/o/n",
        "https://g\u0131thub.com/o/n",
        "https://\u0433ithub.com/o/n",
        "http://github.com/o/n",
        "http://localhost/o/n",
        "git://github.com/o/n",
        "ext::sh -c id",
        "ext::sh",
        "fd::17",
        "--upload-pack=id",
        "-oProxyCommand=id@github.com:o/n",
        "ssh://-oProxyCommand=id/o/n",
        "git@github.com:o",
        "/srv/git/demo",
        "file:///srv/git/demo",
        "https://127.0.0.1/o/n",
        "https://github.com/group/o/n",
        "https://gitlab.example.com/",
        "https://gitlab.example.com/..",
        "https://gitlab.example.com/-/tree/main",
        "https://gitlab.example.com/%2e%2e/n",
        "https://github.com/o/n" + "x" * 2_000,
        "https://github.com/o/\ud800",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(RepositoryNotAllowed):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        f"https://{SECRET}@github.com/o/n",
        f"https://x-access-token:{SECRET}@github.com/o/n",
        f"https://{SECRET}:@evil.example/o/n",
        f"ssh://git:{SECRET}@github.com/o/n",
        f"{SECRET}@github.com:o/n",
    ],
)
def test_a_token_in_the_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(RepositoryNotAllowed, match="github_token") as refused:
        parse(text)
    assert SECRET not in refused.value.message


def test_a_star_allows_every_host_and_port_but_not_this_machine() -> None:
    anywhere = ("*",)
    assert parse("https://git.example.org:8443/o/n", hosts=anywhere).port == 8443
    for host in ("localhost", "git.localhost", "a.b.LOCALHOST", "127.0.0.1", "[::1]"):
        with pytest.raises(RepositoryNotAllowed, match="does not clone from"):
            parse(f"https://{host}/o/n", hosts=anywhere)


@pytest.mark.parametrize(
    "host",
    [
        "ip6-localhost",
        "ip6-loopback",
        "localhost.localdomain",
        "localhost6",
        "127.9.9.9",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0x7f.0.0.0x1",
        "017700000001",
        "127.1",
        "0177.0.0.1",
        "0x",
        "10.0.0.5",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[::ffff:10.0.0.5]",
        "[64:ff9b::a9fe:a9fe]",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
@pytest.mark.parametrize("local", [False, True])
def test_no_spelling_of_an_inner_address_is_public(host: str, local: bool) -> None:
    """Loopback addresses need `allow_local`; the others need an entry of their own."""
    try:
        parsed = parse(f"https://{host}/o/n", hosts=("*",), local=local)
    except RepositoryNotAllowed:
        return
    assert local
    # Python 3.13 writes the mapped address as it is usual.
    assert parsed.host in {
        "[::ffff:127.0.0.1]",
        "ip6-localhost", "ip6-loopback", "localhost.localdomain", "localhost6", "127.9.9.9",
        "0.0.0.0", "[::]", "[::ffff:7f00:1]", "[::7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    }  # fmt: skip


def test_an_inner_address_is_allowed_by_its_own_entry() -> None:
    assert parse("https://10.0.0.5:8443/o/n", hosts=("10.0.0.5:8443",)).port == 8443
    with pytest.raises(RepositoryNotAllowed):
        parse("https://10.0.0.6:8443/o/n", hosts=("10.0.0.5:8443", "*"))


def addresses(*texts: str) -> list[Address]:
    return [ip_address(text) for text in texts]


@pytest.mark.parametrize(
    ("found", "named", "local", "starred"),
    [
        (("140.82.121.3",), True, True, True),
        (("64:ff9b::8c52:7903", "2606:4700::1111"), True, True, True),
        (("10.0.0.5",), True, False, False),
        (("fd00::5",), True, False, False),
        (("140.82.121.3", "10.0.0.5"), True, False, False),
        (("127.0.0.1",), False, True, False),
        (("::1",), False, True, False),
        (("::",), False, True, False),
        (("140.82.121.3", "127.0.0.1"), False, True, False),
        (("169.254.169.254",), False, False, False),
        (("fe80::1",), False, False, False),
    ],
)
def test_what_a_name_leads_to_decides(
    found: tuple[str, ...],
    named: bool,
    local: bool,
    starred: bool,
) -> None:
    """A named host may be private, `allow_local` allows this machine, a star allows neither."""
    allowed = {
        "named": HostRules(("git.example",), allow_local=False),
        "local": HostRules(("*",), allow_local=True),
        "starred": HostRules(("*",), allow_local=False),
    }
    seen = {}
    for name, rules in allowed.items():
        try:
            rules.check_addresses(Place("https", "git.example", None), addresses(*found))
        except RepositoryNotAllowed:
            seen[name] = False
        else:
            seen[name] = True
    assert seen == {"named": named, "local": local, "starred": starred}


def test_addresses_are_pinned_as_curl_reads_them() -> None:
    found = addresses("140.82.121.3", "2606:4700::1111")
    setting = {"http.curloptResolve": "git.example:8443:140.82.121.3,[2606:4700::1111]"}
    assert pinned(Place("https", "git.example", 8443), found) == setting
    assert pinned(Place("https", "140.82.121.3", None), found[:1]) == {}


def test_with_local_repositories_allowed_other_hosts_are_refused_as_before() -> None:
    for text in ("https://evil.example/o/n", "http://github.com/o/n", "git@evil.example:o/n"):
        with pytest.raises(RepositoryNotAllowed):
            parse(text, local=True)
    assert not parse("https://github.com/o/n", local=True).is_local


@pytest.mark.parametrize(
    ("authority", "reason"),
    [
        ("git.example.org:0", "port"),
        ("git.example.org:65536", "port"),
        ("g\u0131t.example.org", "ASCII"),
        ("-git.example.org", "usable host"),
        ("git..example.org", "usable host"),
        ("[::]", "does not clone from"),
    ],
)
def test_a_star_allows_no_malformed_host_and_port(authority: str, reason: str) -> None:
    with pytest.raises(RepositoryNotAllowed, match=reason):
        parse(f"https://{authority}/o/n", hosts=("*",))


def test_all_ports_but_the_default_one_are_part_of_the_address() -> None:
    for port in (1, 65_535):
        assert parse(f"https://git.example.org:{port}/o/n", hosts=("*",)).port == port
    assert parse("http://localhost:80/o/n", local=True).url == "http://localhost/o/n"


def test_an_address_of_ipv6_is_a_host_like_any_other() -> None:
    parsed = parse("https://[2001:DB8:0::1]:8443/o/n", hosts=("[2001:db8::1]:8443",))
    assert (parsed.url, parsed.host) == ("https://[2001:db8::1]:8443/o/n", "[2001:db8::1]")
    for host in ("[2606:4700::1111]", "[::ffff:8.8.8.8]"):
        assert parse(f"https://{host}/o/n", hosts=("*",)).url.startswith("https://[")


def test_an_address_has_two_thousand_characters_at_most() -> None:
    longest = "https://github.com/o/" + "n" * (2_000 - len("https://github.com/o/"))
    assert parse(longest).url == longest
    with pytest.raises(RepositoryNotAllowed, match="1 to 2000 characters"):
        parse(f"{longest}n")


def test_hosts_are_allowed_whatever_their_case() -> None:
    assert parse("https://git.example.org/o/n", hosts=("Git.Example.ORG",)).owner == "o"


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("/srv/git/demo", "file:///srv/git/demo", "demo"),
        ("/srv/git/demo.git/", "file:///srv/git/demo.git", "demo"),
        ("//srv//git/demo", "file:///srv/git/demo", "demo"),
        ("file:///srv/git/demo", "file:///srv/git/demo", "demo"),
        ("file://localhost/srv/git/demo", "file:///srv/git/demo", "demo"),
        ("/srv/my demo/.git", "file:///srv/my demo/.git", ".git"),
    ],
)
def test_a_local_repository_needs_permission(text: str, url: str, name: str) -> None:
    parsed = parse(text, local=True)
    assert (parsed.url, parsed.owner, parsed.name, parsed.is_local) == (url, "local", name, True)
    with pytest.raises(RepositoryNotAllowed):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/srv/../etc",
        "file://elsewhere/x",
        "file:relative",
        "/a\nb",
        "/a\0b",
        "/a\tb",
        "/srv/./n",
        "/a%41",
        "/a?b",
        "/a#b",
        "/a\\b",
    ],
)
def test_a_local_repository_is_an_absolute_path(text: str) -> None:
    with pytest.raises(RepositoryNotAllowed):
        parse(text, local=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_plain_http_is_for_this_machine_only(host: str) -> None:
    parsed = parse(f"http://{host}:3000/o/n.git", local=True)
    assert parsed.url == f"http://{host}:3000/o/n.git"
    assert parsed.port == 3000
    with pytest.raises(RepositoryNotAllowed):
        parse(f"http://{host}:3000/o/n.git", hosts=("*",))


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    for prefix in ("", "https://", "https://github.com/", "git@", "ssh://git@", "file://", "/"):
        try:
            parsed = parse(prefix + text, hosts=("*",), local=True)
        except RepositoryNotAllowed:
            continue
        assert parse(parsed.url, hosts=("*",), local=True) == parsed
        assert not parsed.url.startswith("-")
