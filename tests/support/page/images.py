"""Makes small images."""

from __future__ import annotations

import zlib


def png(width: int, ballast: bytes = b"") -> bytes:
    """Return an image of one row of red points, with bytes that are not shown."""
    row = b"\0" + b"\xc0\x20\x20" * width
    parts = (
        (b"IHDR", width.to_bytes(4, "big") + b"\0\0\0\1\x08\2\0\0\0"),
        (b"raWt", ballast),
        (b"IDAT", zlib.compress(row)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in parts
    )
