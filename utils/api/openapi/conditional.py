"""Describes requests whose answer a client may have already."""

from __future__ import annotations

from utils.api.conditional import MATCH_HEADER
from utils.models.tasks import Json

MATCH_PARAMETER: Json = {
    "name": MATCH_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 100},
    "description": "The `ETag` of the answer that you have.",
}

ETAG_HEADER: Json = {
    "ETag": {
        "schema": {"type": "string"},
        "description": "Names this answer. The next request may send it as `If-None-Match`.",
    }
}

UNCHANGED: Json = {
    "description": "Nothing has changed since the answer whose `ETag` you have sent.",
    "headers": ETAG_HEADER,
}
