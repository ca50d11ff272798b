"""Adds, takes back and reads the turns of tasks, through Supabase."""

from __future__ import annotations

from datetime import datetime

from utils.database.schema import task_turns, tasks
from utils.database.shared import (
    MAX_CHAT_CHARACTERS,
    MAX_CHAT_MESSAGES,
    NEXT_TURN,
    NO_TURN,
    conversation_full,
    new_turn_values,
    turn_started,
    turn_values,
)
from utils.database.supabase.rows import (
    decode_task,
    decode_turn,
    encode_bytes,
    encode_columns,
    parse_timestamp,
)
from utils.database.supabase.tables.archive import missing_task
from utils.database.supabase.tables.tasks import TaskMethods
from utils.database.types import normalize_user_id
from utils.database.verbs.turns import AddedTurn, Workspace
from utils.errors import NotFound
from utils.models.tasks import Task, TaskStatus
from utils.models.turns import NewTurn, Turn, first_turn


class TurnMethods(TaskMethods):
    """Methods for turns and kept workspaces."""

    def add_turn(self, user_id: str, task_id: int, new: NewTurn) -> AddedTurn:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "this_server": self.server,
            "first": None,
            "turn": encode_columns(task_turns, new_turn_values(new)),
            "interrupting": new.interrupts,
            "ciphertext": encode_bytes(new.encrypted_token),
            "next_fields": NEXT_TURN,
            "most_messages": MAX_CHAT_MESSAGES,
            "most_characters": MAX_CHAT_CHARACTERS,
        }
        answer = self.supabase.call("backend_add_turn", arguments, idempotent=False)
        if answer["outcome"] == "no_turns":
            # A task that has ended without turns does not change before it gets its first ones.
            first = first_turn(self.get_task(user_id, task_id))
            arguments["first"] = encode_columns(task_turns, turn_values(first))
            answer = self.supabase.call("backend_add_turn", arguments, idempotent=False)
        if answer["outcome"] == "no_task":
            raise missing_task(self.supabase, user_id, task_id)
        if answer["outcome"] == "full":
            raise conversation_full()
        return AddedTurn(decode_task(answer["task"]), decode_turn(answer["turn"]), answer["begins"])

    def take_back_turn(self, user_id: str, task_id: int, number: int) -> Task:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "this_number": number,
        }
        answer = self.supabase.call("backend_take_back_turn", arguments, idempotent=False)
        if answer["outcome"] == "no_task":
            raise missing_task(self.supabase, user_id, task_id)
        if answer["outcome"] == "started":
            raise turn_started()
        if answer["outcome"] == "no_turn":
            raise NotFound(NO_TURN)
        return decode_task(answer["task"])

    def list_turns(self, user_id: str, task_id: int) -> list[Turn]:
        """See `Database`."""
        arguments = {"this_user": normalize_user_id(user_id), "this_task": task_id}
        rows = self.supabase.call("backend_list_turns", arguments, idempotent=True)
        if rows is None:
            raise missing_task(self.supabase, user_id, task_id)
        if not rows:
            return [first_turn(self.get_task(user_id, task_id)).turn]
        return [decode_turn(row) for row in rows]

    def get_turn_diff(self, user_id: str, task_id: int, number: int) -> str:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_task": task_id,
            "this_number": number,
        }
        row = self.supabase.call("backend_get_turn_diff", arguments, idempotent=True)
        if row is not None:
            return str(row["git_diff"] or "")
        diff = self.get_git_diff(user_id, task_id)
        # A task without stored turns has its first one.
        if number != 1:
            raise NotFound(NO_TURN)
        return diff

    def keep_workspace(self, task_id: int, sandbox_id: str, until: datetime | None) -> bool:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .update(encode_columns(tasks, {"workspace_until": until}))
            .eq("id", task_id)
            .eq("container_id", sandbox_id)
            .neq("status", TaskStatus.RUNNING.value)
            .select("id")
        )
        return bool(self.supabase.rows(request, idempotent=True))

    def list_workspaces(self) -> list[Workspace]:
        """See `Database`."""
        request = (
            self.supabase.table("tasks")
            .select("id,container_id,workspace_until")
            .not_.is_("workspace_until", "null")
            .not_.is_("container_id", "null")
            .order("workspace_until", desc=True)
        )
        return [
            Workspace(row["id"], row["container_id"], parse_timestamp(row["workspace_until"]))
            for row in self.supabase.rows(request, idempotent=True)
        ]
