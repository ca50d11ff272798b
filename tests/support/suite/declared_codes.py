"""Checks that the OpenAPI document names each error that an application answers with."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, request

from utils.api.endpoint import declaration_of
from utils.api.openapi.error_responses import error_codes


def refuse_undeclared_codes(app: Flask) -> None:
    """Fail a request whose answer has an error code that its operation does not declare."""

    def check(response: Response) -> Response:
        declared = declaration_of(app.view_functions.get(request.endpoint or ""))
        if response.status_code < HTTPStatus.BAD_REQUEST or declared is None:
            return response
        codes = error_codes(
            declared,
            arguments=request.url_rule.arguments if request.url_rule else (),
            is_reading=request.method in {"GET", "HEAD"},
        )
        code = (response.get_json(silent=True) or {}).get("code")
        assert code in codes.get(response.status_code, ()), (
            f"{request.method} {request.url_rule} answers {response.status_code} {code}, which is "
            "not among the errors of its @endpoint"
        )
        return response

    app.after_request(check)
