"""Shared parts of the endpoints: validation, responses, OpenAPI, middleware."""
