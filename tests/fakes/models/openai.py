"""Answers as the OpenAI Responses API, streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.fakes.models.script import Step, read_script

Json = dict[str, Any]
Event = tuple[str, Json]

INPUT_TOKENS = 100
CACHED_TOKENS = 20
OUTPUT_TOKENS = 10
REASONING_TOKENS = 5

_RESULTS = ("function_call_output", "custom_tool_call_output")
_numbers = count(1)


def answer(request: Json) -> Json:
    """Return the response that follows a conversation."""
    prompt, results = _prompt(request["input"])
    script = read_script(prompt)
    step = script.step_after(results)
    item = _call(step, _offered(request)) if step else _message(script.answer)
    return {
        "id": f"resp_{next(_numbers)}",
        "object": "response",
        "status": "completed",
        "model": request["model"],
        "output": [item],
        "usage": {
            "input_tokens": INPUT_TOKENS,
            "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
            "output_tokens": OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }


def events(response: Json) -> Iterator[Event]:
    """Return the stream events of a response."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield _event("response.created", response=begun)
    for index, item in enumerate(response["output"]):
        added = {**item, "status": "in_progress"}
        if item["type"] == "message":
            added["content"] = []
        yield _event("response.output_item.added", output_index=index, item=added)
        if item["type"] == "message":
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            text = item["content"][0]["text"]
            yield _event("response.output_text.delta", **place, delta=text)
        yield _event("response.output_item.done", output_index=index, item=item)
    yield _event("response.completed", response=response)


def error(status: int, message: str) -> Json:
    """Return the body of an error."""
    kinds = {401: "invalid_request_error", 429: "rate_limit_exceeded"}
    code = "invalid_api_key" if status == 401 else None
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def user_text(request: Json) -> str:
    """Return the text of the user's messages, the program's own among them."""
    return "\n".join(text for item in request["input"] for text in _texts(item))


def _event(kind: str, **data: Any) -> Event:
    return kind, {"type": kind, **data}


def _prompt(items: list[Json]) -> tuple[str, int]:
    """Return the last text with a script, and the number of tool results after it."""
    prompt, results = "", 0
    for item in items:
        results += item.get("type") in _RESULTS
        for text in _texts(item):
            if read_script(text) != read_script(""):
                prompt, results = text, 0
    return prompt, results


def _texts(item: Json) -> list[str]:
    if item.get("role") != "user":
        return []
    return [part["text"] for part in item["content"] if part["type"] == "input_text"]


def _offered(request: Json) -> set[str]:
    """Return the names of the tools, including those inside the conversation."""
    tools = list(request.get("tools") or [])
    for item in request["input"]:
        tools += item.get("tools", []) if item.get("type") == "additional_tools" else []
    nested = [inner for tool in tools for inner in tool.get("tools", [])]
    return {tool["name"] for tool in (*tools, *nested) if "name" in tool}


def _call(step: Step, offered: set[str]) -> Json:
    patch = f"*** Begin Patch\n*** Add File: {step.file}\n+{step.text}\n*** End Patch"
    if "exec" in offered:
        # The newer models write JavaScript that calls the other tools.
        function = "apply_patch" if step.kind == "write" else "exec_command"
        given: Any = patch if step.kind == "write" else {"cmd": step.arguments}
        script = f"text(await tools.{function}({json.dumps(given)}));"
        return _item("custom_tool_call", name="exec", input=script)
    assert "exec_command" in offered, f"no shell among {sorted(offered)}"
    command = f"apply_patch <<'PATCH'\n{patch}\nPATCH" if step.kind == "write" else step.arguments
    arguments = json.dumps({"cmd": command})
    return _item("function_call", name="exec_command", arguments=arguments)


def _item(kind: str, **data: Any) -> Json:
    number = next(_numbers)
    return {"type": kind, "id": f"item_{number}", "call_id": f"call_{number}", **data}


def _message(text: str) -> Json:
    return {
        "type": "message",
        "id": f"msg_{next(_numbers)}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
