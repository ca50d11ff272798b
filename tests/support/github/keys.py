"""Holds keys of a GitHub App in PEM format, and the permissions that docs/github.md asks for."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

PERMISSIONS = {
    "checks": "read",
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "write",
}
"""The permissions of an App; changes of workflows need `workflows` in addition."""


@cache
def app_key() -> rsa.RSAPrivateKey:
    """Return the key of the tests' Apps, made once: that takes longer than most of these tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    """Return the private key in the format that GitHub issues."""
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    """Return the public key."""
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
