"""Migration of the tables of the first public version, without losing a row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database.schema_projects import OLDER, ONE, TWO, WAYS, Project, Rows

NOBODY = "00000000-0000-0000-0000-000000000000"
INTERRUPTED = "The old backend stopped before this task had ended."

Changes = dict[tuple[str, Any, str], Any]

# Columns whose values change. New columns are checked one by one below.
EXPECTED_CHANGES: dict[str, Changes] = {
    "older_schema.sql": {
        ("tasks", 2, "status"): "failed",
        ("tasks", 3, "status"): "failed",
    },
    "older_schema_untyped.sql": {
        ("projects", 2, "repo_url"): "https://github.com/one/first.git#duplicate-2",
        ("tasks", 2, "project_id"): 1,
        ("tasks", 2, "chat_messages"): [{"content": "Alone"}],
        ("tasks", 2, "execution_metadata"): {"value": [1]},
        ("tasks", 3, "status"): "failed",
        ("tasks", 4, "execution_metadata"): None,
    },
}


def is_same(old: Any, new: Any, column: str) -> bool:
    if column.endswith("_at") and "+" not in old:
        return bool(new == f"{old}+00:00")
    return bool(old == new)


def changes(before: Rows, after: Rows) -> Changes:
    return {
        (table, row_id, column): after[table][row_id][column]
        for table, old_rows in before.items()
        for row_id, old in old_rows.items()
        for column, value in old.items()
        if value is not None and not is_same(value, after[table][row_id][column], column)
    }


@pytest.mark.parametrize("way", WAYS)
def test_every_row_of_the_older_schema_is_there_as_it_was(project: Project, way: str) -> None:
    before = project.make_older("older_schema.sql")
    WAYS[way](project)
    after = project.rows()
    assert {table: set(found) for table, found in after.items()} == {
        table: set(found) for table, found in before.items()
    }
    assert changes(before, after) == EXPECTED_CHANGES["older_schema.sql"]
    done, running, pending, failed = (after["tasks"][number] for number in (1, 2, 3, 4))
    assert (done["prompt_preview"], done["prompt_characters"]) == ("Write tests", 11)
    assert (done["has_patch"], done["execution_summary"]) == (True, {"seconds": 3})
    for task in running, pending:
        assert (task["error_code"], task["error"]) == ("interrupted", INTERRUPTED)
        assert task["completed_at"] is not None
    assert pending["agent"] == "claude"
    assert pending["target_branch"] == "main"
    assert (pending["repo_url"], pending["chat_messages"]) == ("", [])
    assert (failed["error_code"], failed["repo_url"]) == (None, "https://github.com/one/first")
    assert after["users"][ONE]["is_test_user"] is False
    assert after["projects"][2]["settings"] == {}


@pytest.mark.parametrize("way", WAYS)
def test_every_row_of_the_untyped_older_schema_is_there(project: Project, way: str) -> None:
    before = project.make_older("older_schema_untyped.sql")
    texts = {("projects", 1, "settings"), ("tasks", 1, "execution_metadata")}
    WAYS[way](project)
    after = project.rows()
    found = {key: value for key, value in changes(before, after).items() if key not in texts}
    words = found.pop(("tasks", 3, "chat_messages"))
    assert found == EXPECTED_CHANGES["older_schema_untyped.sql"]
    assert [message["content"] for message in words] == ["Only words"]
    assert set(after["users"]) == {ONE, TWO, NOBODY}
    assert [row["name"] for row in after["projects"].values()] == ["First", "first", "second"]
    assert [row["repo_owner"] for row in after["projects"].values()] == ["one", "one", "two"]
    assert [row["is_active"] for row in after["projects"].values()] == [True, False, True]
    assert after["projects"][1]["settings"] == {}
    first, _, third, last = (after["tasks"][number] for number in (1, 2, 3, 4))
    assert first["execution_metadata"] == {"seconds": 3}
    assert first["changed_files"] == ["a.py", "b c.py"]
    assert (first["prompt_preview"], first["prompt_characters"]) == ("Schöner", 7)
    assert (third["user_id"], third["repo_url"]) == (TWO, "git@github.com:two/second")
    assert (last["user_id"], last["status"]) == (NOBODY, "failed")


@pytest.mark.parametrize("way", WAYS)
def test_rows_beyond_the_limits_of_today_are_kept(project: Project, way: str) -> None:
    project.make_older("older_schema.sql")
    project.run(
        f"UPDATE users SET preferences = '{{\"x\": 1e5000}}' WHERE id = '{ONE}';"
        "UPDATE projects SET settings = to_jsonb(repeat('long', 70000));"
        "INSERT INTO auth.users (id, raw_user_meta_data) VALUES"
        f" ('{NOBODY}', jsonb_build_object('full_name', repeat('long', 70000)));"
        f"DELETE FROM users WHERE id = '{NOBODY}'"
    )
    kept = (
        "SELECT (SELECT length(preferences::text) FROM users WHERE preferences ? 'x'),"
        " (SELECT min(length(settings::text)) FROM projects)"
    )
    before = project.query(kept)
    WAYS[way](project)
    assert project.query(kept) == before
    names = f"SELECT length(full_name) FROM users WHERE id = '{NOBODY}'"
    assert project.query(names) == [(280_000,)]


@pytest.mark.parametrize(("older", "next_id"), [(OLDER[0], 6), (OLDER[1], 5)])
def test_numbers_go_on_where_they_were(project: Project, older: str, next_id: int) -> None:
    project.make_older(older)
    project.paste()
    add = f"INSERT INTO tasks (user_id, repo_url) VALUES ('{ONE}', '') RETURNING id, status"
    assert project.query(add) == [(next_id, "pending")]


def test_other_columns_and_tables_stay(project: Project) -> None:
    project.make_older("older_schema.sql")
    project.run(
        "ALTER TABLE tasks ADD colour text DEFAULT 'blue';"
        "CREATE TABLE notes (task_id bigint REFERENCES tasks (id), note text);"
        "INSERT INTO notes VALUES (1, 'mine')"
    )
    project.migrate()
    query = "SELECT colour, note FROM tasks JOIN notes ON task_id = tasks.id"
    assert project.query(query) == [("blue", "mine")]
