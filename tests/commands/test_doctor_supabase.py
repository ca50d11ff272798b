"""`./run.sh doctor` checks that a Supabase project fits."""

from __future__ import annotations

from pathlib import Path

from tests.support.doctor_program import Doctor
from tests.support.supabase.key_server import Key, KeyServer

NO_HOST = "127.0.0.1:1"
SECRET = "a-shared-secret-that-is-long-enough"


def test_a_project_whose_tokens_nothing_verifies_is_a_problem(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path, NO_HOST)
    with KeyServer() as project:
        url = {"SUPABASE_URL": project.url}
        code, output = doctor.ask(url)
        assert code == 1
        assert "problem  sign-in: the project publishes no keys" in output
        assert "Set SUPABASE_JWT_SECRET" in output
        project.keys = (Key(),)
        code, output = doctor.ask(url)
        assert code == 0
        assert "ok       sign-in: Supabase's tokens are verified with 1 public key" in output
        project.status = 500
        code, output = doctor.ask(url | {"SUPABASE_JWT_SECRET": SECRET})
        assert code == 0
        assert "warning  sign-in: The public keys cannot be fetched" in output
        assert SECRET not in output


def test_a_supabase_project_that_does_not_answer_is_a_problem(tmp_path: Path) -> None:
    project = {
        "SUPABASE_URL": "http://127.0.0.1:1",
        "SUPABASE_SERVICE_ROLE_KEY": "sb_secret_hidden",
    }
    code, output = Doctor(tmp_path, NO_HOST).ask(project)
    assert code == 1
    assert "problem  database: Supabase: The database did not respond" in output
    assert "Check SUPABASE_URL." in output
    assert "sb_secret_hidden" not in output
