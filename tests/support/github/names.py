"""Names of the user, the token and the repository on the fake GitHub."""

NAME = "team/demo"
TOKEN = "ghp_marked4711"
LOGIN = "alice"
