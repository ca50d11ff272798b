"""Decides what the commands of isolated sandboxes see of this machine, as arguments of bubblewrap.

They see the programs of the system, read-only, and the folder of their sandbox. Everything else is
absent: other files, processes, and the environment of the server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "bwrap"
OLDEST_VERSION = (0, 8)
"""The first version that can turn off user namespaces in a sandbox."""

USER_ID = "1000"
"""The user inside. Many programs refuse to work, or work differently, as root."""

SHARED_MEMORY_BYTES = 256_000_000
"""Size of /dev/shm, which is in memory."""

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")

# Nothing with secrets: no keys of TLS, no passwords, no configuration of programs. And no more than
# programs need, because each entry costs every command a mount.
CONFIGURATION = (
    *("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/os-release"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf"),
    *("/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf"),
    *("/etc/pki/ca-trust/extracted", "/etc/crypto-policies"),
    *("/etc/services", "/etc/protocols", "/etc/mime.types"),
)
OWN_CONFIGURATION = ("passwd", "group", "hosts")
_OWN_FOLDER = Path(__file__).with_name("etc")

SEPARATION = (
    # The network is the one that the keeper has entered; processes and messages between them are
    # separated for each command.
    *("--unshare-user", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--new-session", "--hostname", "sandbox"),
    *("--uid", USER_ID, "--gid", USER_ID, "--cap-drop", "ALL", "--disable-userns"),
)


@dataclass(frozen=True, slots=True)
class View:
    """The view of this machine that all sandboxes of a server share.

    `readable` are more folders and files that the operator shows, `hidden` those of the server. Of
    two that contain one another the inner one decides.
    """

    readable: Sequence[Path]
    hidden: Sequence[Path]

    def shows(self, path: Path) -> bool:
        """Tell whether commands see a file or folder of this machine."""
        real = path.resolve()
        decisive = [is_shown for place, is_shown in self._places() if real.is_relative_to(place)]
        return path.exists() and bool(decisive) and decisive[-1]

    def arguments(self, root: Path, tmp: Path) -> list[str]:
        """Return the arguments for all commands of the sandbox in a folder."""
        return [
            *SEPARATION,
            # First, because what is shown may be in there.
            *("--dir", "/proc", "--dev", "/dev"),
            *("--perms", "1777", "--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm"),  # noqa: S108
            *("--bind", str(tmp), "/tmp", "--symlink", "/tmp", "/var/tmp"),  # noqa: S108
            *self._links(),
            *(part for place, is_shown in self._places() for part in _mount(place, is_shown)),
            *(part for path in _configuration() for part in read_only(path)),
            *(part for name in OWN_CONFIGURATION for part in _own_configuration(name)),
            *("--bind", str(root), str(root)),
            # A command cannot remove it: what is mounted at /tmp would be gone for the next ones.
            *("--bind", str(tmp), str(tmp)),
        ]

    def closed(self) -> list[str]:
        """Return the places that commands may not change, so that they fill no memory there."""
        hidden = [place for place, is_shown in self._places() if not is_shown and place.is_dir()]
        return [*map(str, hidden), "/dev", "/"]

    def _links(self) -> Iterator[str]:
        for path in map(Path, SYSTEM):
            if path.is_symlink():
                yield from ("--symlink", str(path.readlink()), str(path))
        for path in self.readable:
            if path != path.resolve() and not self.shows(path.parent):
                yield from ("--symlink", str(path.resolve()), str(path))

    def _places(self) -> list[tuple[Path, bool]]:
        """Return the real places that are shown, and the hidden ones in them; outer ones first."""
        system = [path for path in map(Path, SYSTEM) if path.exists() and not path.is_symlink()]
        shown = list(dict.fromkeys((path.resolve(), True) for path in (*system, *self.readable)))
        hidden = [(path.resolve(), False) for path in self.hidden]
        inner = [one for one in hidden if any(one[0].is_relative_to(place) for place, _ in shown)]
        return sorted([*shown, *inner], key=lambda one: (len(one[0].parts), not one[1]))


def read_only(path: Path) -> tuple[str, ...]:
    """Return the arguments that show a file or folder, if it exists, at its own place."""
    return ("--ro-bind-try", str(path), str(path))


def _mount(place: Path, is_shown: bool) -> tuple[str, ...]:  # noqa: FBT001
    if is_shown:
        return read_only(place)
    if place.is_dir():
        return ("--tmpfs", str(place))
    return ("--ro-bind", "/dev/null", str(place)) if place.exists() else ()


def _configuration() -> Iterator[Path]:
    # Each missing file would cost every command a look at it.
    return filter(Path.exists, map(Path, CONFIGURATION))


def _own_configuration(name: str) -> tuple[str, ...]:
    return ("--ro-bind", str(_OWN_FOLDER / name), f"/etc/{name}")


def search_path(view: View, programs: Sequence[Path], inherited: str) -> str:
    """Return the PATH of commands: the folders of programs, then what is shown of the server's."""
    entries = [Path(entry) for entry in inherited.split(os.pathsep) if entry.startswith("/")]
    shown = [entry for entry in entries if view.shows(entry)]
    return os.pathsep.join(dict.fromkeys(map(str, (*programs, *shown)))) or os.defpath
