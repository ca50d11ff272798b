"""No command gets out of an isolated sandbox: each test is an attempt, and none succeeds."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import psutil
import pytest

from tests.support.places import IsolatedPlace, require_isolation
from utils.config.settings import Settings
from utils.errors import SandboxError
from utils.models.environments import NetworkPolicy
from utils.sandboxes.local.commands import PROJECT
from utils.sandboxes.protocol import AgentCommand, Sandbox, SandboxProvider, SandboxRequest
from utils.sandboxes.registry import open_provider
from utils.sandboxes.separation.system_calls import NUMBERS

pytestmark = pytest.mark.anyio

SECRET = "the-secret-of-somebody-else"
LONG_SECONDS = 60
_numbers = count(1)

FILES = {
    "the data folder": "cat DATA/secret",
    "a way around through /proc": "cat /proc/1/root/DATA/secret /proc/1/cwd/DATA/secret",
    "another sandbox": "cat OTHER/home/secret",
    "a link to another sandbox": 'ln -s OTHER/home "$HOME/link" && cat "$HOME/link/secret"',
    "the server's environment": "cat /proc/*/environ | tr '\\0' '\\n'",
    "the server's memory": "cat /proc/SERVER/mem /proc/SERVER/environ /proc/SERVER/cmdline",
    "the server's open files": "cat /proc/*/fd/[3-9]* /proc/self/fd/[3-9]*",
    "inherited files": "for n in 3 4 5 6 7 8 9; do cat <&$n; done",
}
"""Attempts to read the secret."""

WRITES = {
    "another sandbox": "echo x >OTHER/home/new",
    "the data folder": "echo x >DATA/new; test -e DATA/secret",
    "programs of the system": "echo x >/usr/bin/new-program",
    "configuration of the system": "echo x >/etc/ld.so.preload",
    "settings of the kernel": (
        "for f in core_pattern hostname domainname; do "
        'v=$(cat /proc/sys/kernel/$f) && echo "$v" >/proc/sys/kernel/$f && exit 0; done; exit 1'
    ),
    "this machine's name": "hostname new-name",
    "mount": "mount -t tmpfs none /tmp",
    "mount again": "mount -o remount,rw,bind /usr || mount -o remount,rw /proc",
    "unmount": "umount /proc/sys || umount -l /dev/shm || umount /usr",
    "namespaces of its own": "unshare --user --map-root-user --mount true",
    "a process namespace": "unshare --pid --fork true",
    "another root": "perl -e 'exit(chroot(q(/)) ? 0 : 1)'",
    "device nodes": 'mknod "$HOME/disk" b 8 0 || mknod /tmp/mem c 1 1',
    "devices": "cat /dev/sda /dev/vda /dev/mem /dev/kmsg /proc/kcore | head -c1 | grep .",
    "the log of the kernel": "dmesg",
    "calls that reach around namespaces": (
        "for n in REFUSED; do perl -e 'syscall($ARGV[0], 0, 0, 0, 0, 0); exit($!{ENOSYS} ? 1 : 0)' "
        "$n && exit 0; done; exit 1"
    ),
    "sockets of a virtual machine's host": "perl -e 'exit(socket(S, 40, 1, 0) ? 0 : 1)'",
    "memory of no process": (
        "perl -e 'exit(syscall(SHMGET, 0, 1 << 20, 0) < 0 && syscall(SHMGET, 0, 1 << 32, 0) < 0)'"
    ),
    "the server's processes": "kill -0 SERVER",
    "setuid programs": 'test "$(sed -n "s/NoNewPrivs:.//p" /proc/self/status)" = 0',
    "capabilities": 'grep -q "^Cap...:.0*[1-9a-f]" /proc/self/status',
    "its limits": "for o in f c u p; do (ulimit -$o unlimited) && exit 0; done; exit 1",
    "memory as files": 'test "$(df -k --output=size /dev/shm | tail -1)" -gt 1000000',
    "memory in other places": "for d in / /dev /etc /var; do touch $d/new && exit 0; done; exit 1",
    "the first process": "kill -9 1; kill -STOP 1; cat /proc/1/environ /proc/1/mem | grep -q .",
    "tracing the first process": "perl -e 'exit(syscall(PTRACE, 16, 1, 0, 0) == 0 ? 0 : 1)'",
    "limits of the first process": "prlimit --pid 1 --nofile=4096:1048576",
    "namespaces of the first process": "nsenter -t 1 -m true || nsenter -t 1 -U true",
    "tracing the server": "perl -e 'exit(syscall(PTRACE, 16, SERVER, 0, 0) == 0 ? 0 : 1)'",
    "loopback services": "curl -sS --noproxy '*' http://127.0.0.1:PORT",
    "loopback services through the proxy": "curl -sSf --noproxy '' http://127.0.0.1:PORT",
    "loopback services by other names": (
        "for h in localhost 0.0.0.0 127.1 2130706433 0x7f000001 '[::1]' '[::ffff:127.0.0.1]'; do "
        'curl -sSf --noproxy "" "http://$h:PORT" && exit 0; done; exit 1'
    ),
    "a tunnel to loopback services": "curl -sSf --noproxy '' -p http://127.0.0.1:PORT",
    "the cloud's own services": "curl -sSf -m 5 http://169.254.169.254/latest/meta-data",
    "names of this machine's network": "curl -sSf --abstract-unix-socket NAME http://x/",
    "programs of the server": "cat PROJECT/main.py",
}
"""Attempts that succeed when the command does."""

PTRACE = {"x86_64": 101, "aarch64": 117}
ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
SESSION_KEYS, SEARCH, READ, UNLINK = -3, 10, 11, 9
KEY = "async-code-test"

# Exits with 1 if int 0x80 refuses socket(AF_VSOCK) as a call that does not exist.
CODE = bytes.fromhex(
    "b867010000 bb28000000 b901000000 31d2 cd80 31ff 83f8da 400f94c7 b83c000000 0f05"
)
PROGRAM = (
    b"\x7fELF\2\1\1".ljust(16, b"\0")
    + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 0x1000, 0x1000, 0x1000)
    + CODE
)
"""The machine code as a program: the two headers of ELF before it."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Provide the port of a service on this machine that answers everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer_all, args=(listening,), daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def abstract_name() -> Iterator[str]:
    """Provide the name of a service on a socket without a file."""
    name = f"async-code-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        thread = threading.Thread(target=_answer_all, args=(listening,), daemon=True)
        thread.start()
        yield name
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer_all(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nreached\n")


@pytest.fixture
def key_of_the_server() -> Iterator[None]:
    """Provide a key that the kernel keeps for this process, and those that it starts."""
    library = ctypes.CDLL(None)
    secret = SECRET.encode()
    number = library.syscall(ADD_KEY, b"user", KEY.encode(), secret, len(secret), SESSION_KEYS)
    yield
    library.syscall(KEYCTL, UNLINK, number, SESSION_KEYS)


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SandboxProvider:
    """Provide a provider whose server has secrets in its data folder and its environment."""
    require_isolation()
    monkeypatch.setenv("SECRET_OF_THE_SERVER", SECRET)
    (tmp_path / "secret").write_text(SECRET)
    values = {**IsolatedPlace.settings, "data_dir": tmp_path, "isolated_network": "open"}
    return open_provider(Settings.model_validate(values))


@pytest.fixture
async def sandboxes(provider: SandboxProvider) -> AsyncIterator[list[Sandbox]]:
    """Provide two sandboxes."""
    opened = [await provider.open(SandboxRequest(n, "user", 1, LONG_SECONDS)) for n in (1, 2)]
    yield opened
    for sandbox in opened:
        await sandbox.close()


async def attempt(sandboxes: list[Sandbox], script: str, **words: object) -> tuple[int, bytes]:
    """Run an attempt as the agent of the first sandbox; return its exit code and its output."""
    sandbox, other = sandboxes
    await other.write_files({f"{other.paths.home}/secret": SECRET.encode()})
    folder = Path(other.paths.home).parent
    places = {"OTHER": folder, "DATA": folder.parents[1], "SERVER": os.getpid(), "PROJECT": PROJECT}
    for word, value in {**places, **words}.items():
        script = script.replace(word, str(value))
    printed = bytearray()
    command = AgentCommand(["sh", "-c", script], sandbox.paths.home)
    result = await sandbox.run_agent(
        command, timeout_seconds=LONG_SECONDS, on_output=lambda _, piece: printed.extend(piece)
    )
    assert not result.timed_out
    return result.exit_code, bytes(printed)


@pytest.mark.parametrize("name", FILES)
async def test_the_secrets_of_others_cannot_be_read(sandboxes: list[Sandbox], name: str) -> None:
    _, printed = await attempt(sandboxes, FILES[name])
    assert SECRET.encode() not in printed


@pytest.mark.usefixtures("key_of_the_server")
async def test_the_keys_of_the_server_cannot_be_read(sandboxes: list[Sandbox]) -> None:
    numbers = {"CALL": KEYCTL, "SEARCH": SEARCH, "READ": READ, "SESSION": SESSION_KEYS, "KEY": KEY}
    script = (
        "my ($kind, $name, $value) = (q(user), q(KEY), q( ) x 100);"
        "my $key = syscall(CALL, SEARCH, SESSION, $kind, $name, 0);"
        "syscall(CALL, READ, $key, $value, 100); print $value"
    )
    _, printed = await attempt(sandboxes, f"perl -e '{script}'; cat /proc/keys", **numbers)
    assert SECRET.encode() not in printed
    assert KEY.encode() not in printed


@pytest.mark.parametrize("name", WRITES)
async def test_nothing_outside_can_be_used(
    sandboxes: list[Sandbox], port: int, abstract_name: str, tmp_path: Path, name: str
) -> None:
    machine = os.uname().machine
    numbers = NUMBERS[machine]
    calls = {
        "PTRACE": PTRACE[machine],
        "REFUSED": " ".join(map(str, numbers.refused)),
        "SHMGET": numbers.shmget,
    }
    code, printed = await attempt(sandboxes, WRITES[name], PORT=port, NAME=abstract_name, **calls)
    assert code != 0, printed
    # It failed because it was prevented, not because a program for it is missing.
    assert code != 127, printed
    assert b"reached" not in printed
    written = (tmp_path / "new", Path(sandboxes[1].paths.home, "new"))
    assert not any(path.exists() for path in written)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="its programs have one interface")
async def test_calls_by_the_interface_of_32_bits_are_refused(sandboxes: list[Sandbox]) -> None:
    path = f"{sandboxes[0].paths.home}/program"
    await sandboxes[0].write_files({path: PROGRAM})
    code, _ = await attempt(sandboxes, f"chmod +x {path}; {path}")
    assert code == 1


async def test_a_sandbox_cannot_leave_the_processors_that_it_has(
    provider: SandboxProvider,
) -> None:
    requests = [SandboxRequest(n, "user", 1, LONG_SECONDS, cpus=1) for n in (1, 2)]
    sandboxes = [await provider.open(request) for request in requests]
    look = "nproc; sed -n 's/Cpus_allowed_list:.//p' /proc/self/status"
    before = await attempt(sandboxes, look)
    assert before[1].splitlines()[0] == b"1"
    number = NUMBERS[os.uname().machine].set_affinity
    call = (
        f"my $all = chr(255) x 128; syscall({number}, 0, 128, $all) < 0 && $!{{EPERM}} "
        'or print "moved"'
    )
    attempts = (
        f"perl -e '{call}'",
        f"perl -e 'fork; {call}'",
        f"perl -Mthreads -e 'threads->create(sub {{ {call} }})->join'",
        "taskset -p -c 0-1023 $$ && echo moved",
        "taskset -p -c 0-1023 1 && echo moved",
        "setsid taskset -c 0-1023 echo moved",
    )
    for script in attempts:
        _, printed = await attempt(sandboxes, script)
        assert b"moved" not in printed, script
        assert await attempt(sandboxes, look) == before
    _, beside = await attempt(sandboxes[::-1], look)
    assert (beside == before[1]) == (len(os.sched_getaffinity(0)) == 1)
    for sandbox in sandboxes:
        await sandbox.close()


async def test_what_forks_twice_and_leaves_its_session_is_ended(sandboxes: list[Sandbox]) -> None:
    seconds = os.getpid() * 1000 + next(_numbers)
    script = f"(env -i setsid sh -c 'setsid sleep {seconds} & exit 0' &); sleep 0.2; echo left"
    assert await attempt(sandboxes, script) == (0, b"left\n")
    living = (" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))
    assert [line for line in living if str(seconds) in line] == []


async def test_links_of_an_agent_lead_the_server_nowhere(
    sandboxes: list[Sandbox], tmp_path: Path
) -> None:
    sandbox = sandboxes[0]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "login").write_text(SECRET)
    home, work = sandbox.paths.home, sandbox.paths.work
    folders = (f"{home}/.claude", f"{home}/deep/er", f"{work}/result")
    script = f"mkdir -p {home}/deep; rm -rf {work}/result"
    for folder in folders:
        script += f"; ln -s {outside} {folder}"
    await attempt(sandboxes, f"{script}; ln -s {outside}/login {home}/login")
    paths = [f"{home}/login", *(f"{folder}/login" for folder in folders)]
    assert await sandbox.read_files(paths, max_bytes=1000) == {}
    await sandbox.write_files(dict.fromkeys(paths, b"ours"))
    assert (outside / "login").read_text() == SECRET
    assert await sandbox.read_files(paths, max_bytes=1000) == dict.fromkeys(paths, b"ours")


async def test_the_home_itself_may_be_a_link(sandboxes: list[Sandbox], tmp_path: Path) -> None:
    sandbox = sandboxes[0]
    outside = tmp_path / "outside"
    outside.mkdir()
    home = sandbox.paths.home
    await attempt(sandboxes, f"cd /; rm -rf {home}; ln -s {outside} {home}")
    await sandbox.write_files({f"{home}/.gitconfig": b"ours"})
    assert list(outside.iterdir()) == []


async def test_no_command_sees_what_is_the_one_before(sandboxes: list[Sandbox]) -> None:
    sandbox = sandboxes[0]
    secret = {"SECRET_OF_THE_SETUP": SECRET}
    script = "setsid sleep 60 >/dev/null 2>&1 & ipcmk -Q >/dev/null; ipcs -q | grep -c 0x"
    result = await sandbox.run(
        ["sh", "-c", script], timeout_seconds=LONG_SECONDS, environment=secret, untrusted=True
    )
    assert result.stdout == b"1\n"
    _, printed = await attempt(
        sandboxes, "cat /proc/*/environ | tr '\\0' '\\n'; ps ax | grep '[s]leep'; ipcs -q | grep 0x"
    )
    assert SECRET.encode() not in printed
    assert b"sleep" not in printed
    assert b"0x" not in printed


async def test_a_command_has_its_own_first_process_after_it_killed_everything(
    sandboxes: list[Sandbox],
) -> None:
    code, _ = await attempt(sandboxes, "kill -9 -1; kill -9 1; exit 3")
    assert code in {3, 137}
    assert await attempt(sandboxes, "echo goes on") == (0, b"goes on\n")


async def test_a_command_that_removes_all_folders_leaves_the_next_one_a_place(
    sandboxes: list[Sandbox],
) -> None:
    root = Path(sandboxes[0].paths.home).parent
    await attempt(sandboxes, f"rm -rf {root}/* /tmp/*; mv {root}/tmp {root}/other")
    result = await sandboxes[0].run(
        ["sh", "-c", "echo x >/tmp/new && cat $TMPDIR/new"], timeout_seconds=LONG_SECONDS
    )
    assert result.stdout == b"x\n"


async def test_a_program_that_is_missing_ends_as_in_a_shell(sandboxes: list[Sandbox]) -> None:
    missing = await sandboxes[0].run(["no-such-program"], timeout_seconds=LONG_SECONDS)
    assert (missing.exit_code, missing.stderr.split(b":")[0]) == (127, b"no-such-program")
    folder = await sandboxes[0].run(["/usr"], timeout_seconds=LONG_SECONDS)
    assert folder.exit_code == 126


async def test_a_boundary_that_cannot_be_built_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_isolation()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "bwrap").write_text("#!/bin/sh\necho 'bwrap: no namespaces here' >&2; exit 1\n")
    (programs / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    values = {
        **IsolatedPlace.settings,
        "data_dir": tmp_path / "data",
        "isolated_readable_paths": [str(programs)],
    }
    provider = open_provider(Settings.model_validate(values))
    sandbox = await provider.open(SandboxRequest(1, "user", 1, LONG_SECONDS))
    for _ in range(2):
        with pytest.raises(SandboxError, match="no namespaces here") as raised:
            await sandbox.run(["true"], timeout_seconds=LONG_SECONDS)
        assert "./run.sh doctor" in raised.value.message
    await sandbox.close()
    await provider.close()


async def test_a_sandbox_whose_network_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    require_isolation()
    values = {**IsolatedPlace.settings, "data_dir": tmp_path, "isolated_network": "none"}
    provider = open_provider(Settings.model_validate(values))
    request = SandboxRequest(1, "user", 1, LONG_SECONDS, network=NetworkPolicy("open", ()))
    with pytest.raises(SandboxError) as raised:
        await provider.open(request)
    assert raised.value.code == "network_policy_refused"
    assert await provider.list_existing() == set()
    assert list((tmp_path / "sandboxes").iterdir()) == []
    await provider.close()
