"""Answers as the Anthropic Messages API, streamed and whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.fakes.models.script import Script, Step, read_script

Json = dict[str, Any]
Event = tuple[str, Json]

INPUT_TOKENS = 100
CACHED_TOKENS = 20
OUTPUT_TOKENS = 10

_FOLDER = re.compile(r"Primary working directory: (.+)")
_numbers = count(1)


def answer(request: Json) -> Json:
    """Return the message that follows a conversation."""
    prompt, results = _prompt(request["messages"])
    script = read_script(prompt)
    step = script.step_after(results)
    offered = {tool["name"] for tool in request.get("tools", [])}
    block = _tool_use(step, offered, _folder(request)) if step else _text(script)
    number = next(_numbers)
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [block],
        "stop_reason": "tool_use" if step else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": INPUT_TOKENS,
            "output_tokens": OUTPUT_TOKENS,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": CACHED_TOKENS,
        },
    }


def events(message: Json) -> Iterator[Event]:
    """Return the stream events of a message."""
    block = message["content"][0]
    begun, ended = {**message, "content": [], "stop_reason": None}, message["stop_reason"]
    yield _event("message_start", message=begun)
    if block["type"] == "tool_use":
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        empty = {**block, "input": {}}
    else:
        delta, empty = {"type": "text_delta", "text": block["text"]}, {**block, "text": ""}
    yield _event("content_block_start", index=0, content_block=empty)
    yield _event("content_block_delta", index=0, delta=delta)
    yield _event("content_block_stop", index=0)
    stop = {"stop_reason": ended, "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage={"output_tokens": OUTPUT_TOKENS})
    yield _event("message_stop")


def error(status: int, message: str) -> Json:
    """Return the body of an error."""
    kinds = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
    kind = kinds.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def user_text(request: Json) -> str:
    """Return the text of the user's messages, the program's own reminders included."""
    texts = (_texts(message) for message in request["messages"] if message["role"] == "user")
    return "\n".join(text for found in texts for text in found)


def _event(kind: str, **data: Any) -> Event:
    return kind, {"type": kind, **data}


def _prompt(messages: list[Json]) -> tuple[str, int]:
    """Return the last text with a script, and the number of tool results after it."""
    prompt, results = "", 0
    for message in messages:
        if message["role"] != "user":
            continue
        results += sum(block.get("type") == "tool_result" for block in _blocks(message))
        for text in _texts(message):
            if read_script(text) != read_script(""):
                prompt, results = text, 0
    return prompt, results


def _blocks(message: Json) -> list[Json]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(message: Json) -> list[str]:
    return [block["text"] for block in _blocks(message) if block.get("type") == "text"]


def _folder(request: Json) -> str:
    # Where it works, the program says in one of its own texts, in a place that changes.
    found = _FOLDER.search(json.dumps(request["messages"]) + json.dumps(request.get("system")))
    return found[1].partition("\\n")[0] if found else ""


def _tool_use(step: Step, offered: set[str], folder: str) -> Json:
    given: Json
    if step.kind == "write":
        name, given = "Write", {"file_path": f"{folder}/{step.file}", "content": f"{step.text}\n"}
    else:
        name, given = "Bash", {"command": step.arguments, "description": "Do as told"}
        given |= {"run_in_background": True} if step.kind == "background" else {}
    assert name in offered, f"{name} is not among {sorted(offered)}"
    return {"type": "tool_use", "id": f"toolu_{next(_numbers)}", "name": name, "input": given}


def _text(script: Script) -> Json:
    return {"type": "text", "text": script.answer}
