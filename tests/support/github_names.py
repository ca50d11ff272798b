"""Who and what is on the fake GitHub that tests start from."""

NAME = "team/demo"
TOKEN = "ghp_marked4711"
LOGIN = "alice"
