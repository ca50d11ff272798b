"""Explains every error code; `docs/errors.md` and the OpenAPI document are made from this."""
