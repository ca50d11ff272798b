"""The codes of the other endpoints, explained."""

from __future__ import annotations

from utils.api.error_codes.entry import ErrorEntry

HTTP_ERRORS = (
    ErrorEntry(
        "anonymous_not_allowed",
        401,
        "The Supabase user is anonymous, and this server does not accept anonymous users.",
        "Sign in with an account, or set `ALLOW_ANONYMOUS_USERS=true`.",
    ),
    ErrorEntry(
        "api_key_expired",
        401,
        "The API key has expired.",
        "Make a new one with `POST /keys` or `./run.sh add-user`.",
    ),
    ErrorEntry(
        "api_key_invalid",
        401,
        "The API key is mistyped or was revoked.",
        "Make a new one with `POST /keys` or `./run.sh add-user`.",
    ),
    ErrorEntry(
        "bad_request",
        400,
        "The server cannot parse the HTTP request.",
        "Check how your client builds the request.",
    ),
    ErrorEntry(
        "body_too_large",
        413,
        "The body is larger than `MAX_BODY_BYTES`, or an upload larger than `MAX_IMPORT_BYTES`.",
        "Send less, or raise the setting.",
    ),
    ErrorEntry(
        "budget_exceeded",
        402,
        "A budget is spent: of the task, of its user for a day or a month, or of its project.",
        "Wait until the time in the message, which `Retry-After` tells as well, or ask who runs "
        "the server for a larger budget. A task over its own budget can only be started anew.",
    ),
    ErrorEntry(
        "conflict",
        409,
        "The row is in a state that does not allow this. The message says which.",
        "Read the row again, then decide.",
    ),
    ErrorEntry(
        "conversation_full",
        409,
        "The conversation of the task has reached its limit.",
        "Start a new task.",
    ),
    ErrorEntry(
        "database_unavailable",
        503,
        "The database did not answer.",
        "Send the request again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "expectation_failed",
        417,
        "The `Expect` header asks for something else than `100-continue`.",
        "Send the request without it.",
    ),
    ErrorEntry(
        "forbidden",
        403,
        "You are signed in but may not do this. The message says why.",
        "Do what the message says.",
    ),
    ErrorEntry(
        "group_too_large",
        400,
        "The request asks for more tasks at once than `MAX_GROUP_SIZE` or the queue allows.",
        "Ask for fewer `attempts` or `agents`.",
    ),
    ErrorEntry(
        "headers_too_large",
        431,
        "A header is larger than 40 kB, all together are larger than 64 kB, or there are more than "
        "100.",
        "Remove cookies and other headers that this server does not need.",
    ),
    ErrorEntry(
        "host_not_allowed",
        400,
        "A server without real sign-in was called by a name other than `localhost`, `127.0.0.1` or "
        "`[::1]`.",
        "Call it by one of these names, or turn `TRUST_USER_ID` and `ENABLE_TEST_USERS` off.",
    ),
    ErrorEntry(
        "idempotency_key_in_use",
        409,
        "A request with this `Idempotency-Key` is still running.",
        "Send the request again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "idempotency_key_reused",
        409,
        "This `Idempotency-Key` was sent with another request within the last 24 hours.",
        "Send a new key for a new request.",
    ),
    ErrorEntry(
        "imports_running",
        429,
        "Other imports of old tasks are running.",
        "Send the upload again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "internal_error",
        500,
        "A defect of this server. The message holds the request's id.",
        "Look in the server's log for that id.",
    ),
    ErrorEntry(
        "invalid_branch",
        400,
        "The branch name breaks git's rules.",
        "Send a valid name; `git check-ref-format --branch <name>` checks one.",
    ),
    ErrorEntry(
        "invalid_json",
        400,
        "The body is missing, or is not valid JSON in UTF-8.",
        "Send a JSON object.",
    ),
    ErrorEntry(
        "invalid_request",
        400,
        "A field is missing, unknown or wrong. The message names the field and the rule.",
        "Correct the field.",
    ),
    ErrorEntry(
        "method_not_allowed",
        405,
        "The endpoint does not support this method.",
        "Use a method from the `Allow` header.",
    ),
    ErrorEntry(
        "metrics_protected",
        403,
        "/metrics was read from another machine, and the server has no `METRICS_TOKEN`.",
        "Set `METRICS_TOKEN` and send it as Bearer token.",
    ),
    ErrorEntry(
        "no_patch",
        404,
        "The task has no patch: it changed nothing, has not ended, or its patch was larger than "
        "`MAX_PATCH_BYTES`.",
        "Read `execution_metadata.notes` of the task.",
    ),
    ErrorEntry(
        "not_found",
        404,
        "There is no such endpoint, or no such row of yours. Other users' rows give the same "
        "answer.",
        "Check the id and the path; `GET /` lists the endpoints.",
    ),
    ErrorEntry(
        "not_implemented",
        501,
        "The body comes in a transfer coding other than `chunked`.",
        "Send it with `Content-Length` or in chunks.",
    ),
    ErrorEntry(
        "queue_full",
        429,
        "`MAX_QUEUED_TASKS` tasks are queued already, or `MAX_QUEUED_PER_USER` of yours.",
        "Start the task later.",
    ),
    ErrorEntry(
        "rate_limited",
        429,
        "Too many sign-ins from one address or of one user (`SIGN_INS_PER_ADDRESS`, "
        "`SIGN_INS_PER_USER`), or imports of one user, in a minute.",
        "Try again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "repository_not_allowed",
        400,
        "The address is malformed, its host is not in `ALLOWED_GIT_HOSTS` or leads to a private "
        "network, or it redirects to such a place. A task can fail with this code too.",
        "Check the address, or add the host to `ALLOWED_GIT_HOSTS`.",
    ),
    ErrorEntry(
        "request_timeout",
        408,
        "The request did not arrive within `HTTP_READ_SECONDS`, for a body plus a second for each "
        "10 kB.",
        "Send it again over a better connection, or raise the setting.",
    ),
    ErrorEntry(
        "row_unreadable",
        409,
        "A front end stored a value in the row that this server cannot read.",
        "Store the row again: `PUT /users/me` or `PUT /projects/{project_id}`.",
    ),
    ErrorEntry(
        "scope_insufficient",
        403,
        "The API key may not do this. The message names the scope that is needed.",
        "Use a key with this scope.",
    ),
    ErrorEntry(
        "session_ended",
        401,
        "The session at Supabase has ended: its user signed out or changed the password.",
        "Sign in to Supabase again.",
    ),
    ErrorEntry(
        "sign_in_unavailable",
        503,
        "Supabase does not return the keys that verify this token, or does not answer whether the "
        "account still exists. Your session is still valid.",
        "Send the request again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "signature_invalid",
        403,
        "The webhook delivery is not signed with `GITHUB_WEBHOOK_SECRET`.",
        "Set the same secret on GitHub and on this server.",
    ),
    ErrorEntry(
        "stored_secret_unreadable",
        400,
        "The encrypted value that you send was encrypted with another `SECRET_KEY`, or for another "
        "user.",
        "Send the secret itself.",
    ),
    ErrorEntry(
        "task_active",
        409,
        "The task has not ended, and could not be cancelled at once, so it cannot be deleted.",
        "Wait until it has ended, then delete it again.",
    ),
    ErrorEntry(
        "task_already_ended",
        409,
        "The task has ended, so it cannot be cancelled.",
        "Nothing.",
    ),
    ErrorEntry(
        "task_archived",
        410,
        "The task was old and is no longer in the database. The message says when it was archived.",
        "Ask whoever runs the server: `./run.sh archive <task id>` prints it.",
    ),
    ErrorEntry(
        "task_not_here",
        409,
        "This server is stopping, or does not run the task, so it cannot cancel it.",
        "Cancel the task again when the server has restarted.",
    ),
    ErrorEntry(
        "templates_unavailable",
        503,
        "The provider of the sandboxes does not list its templates at the moment.",
        "Send the request again later; the message says what to look at.",
    ),
    ErrorEntry(
        "test_users_disabled",
        403,
        "This server does not serve `/test-users`.",
        "Set `ENABLE_TEST_USERS=true` on a development server.",
    ),
    ErrorEntry(
        "ticket_invalid",
        401,
        "The ticket of a stream is unknown, was used, or is older than a minute.",
        "Get a new one with `POST /events/ticket`; each opens one stream.",
    ),
    ErrorEntry(
        "token_expired",
        401,
        "The access token has expired.",
        "Exchange the refresh token at `POST /auth/refresh`.",
    ),
    ErrorEntry(
        "token_invalid",
        401,
        "The token is not valid, was used already, or was revoked.",
        "Sign in again at `POST /auth/token`.",
    ),
    ErrorEntry(
        "token_missing",
        401,
        "The request has no API key or access token, and this server does not accept a bare user "
        "id.",
        "Send `Authorization: Bearer` with an API key or an access token.",
    ),
    ErrorEntry(
        "too_many_keys",
        409,
        "The user has as many API keys as one user may have.",
        "Revoke one with `DELETE /keys/{key_id}`.",
    ),
    ErrorEntry(
        "too_many_schedules",
        409,
        "The user has `MAX_SCHEDULES_PER_USER` schedules.",
        "Delete one with `DELETE /schedules/{schedule_id}`.",
    ),
    ErrorEntry(
        "too_many_secrets",
        409,
        "The project has as many secrets as one project may have.",
        "Delete one with `DELETE /projects/{project_id}/secrets/{secret_name}`.",
    ),
    ErrorEntry(
        "too_many_streams",
        503,
        "The server has `MAX_STREAMS` open streams.",
        "Close streams that nobody reads, or raise the setting.",
    ),
    ErrorEntry(
        "too_many_tasks",
        400,
        "The uploaded file has more tasks than one import may have.",
        "Split the file and upload its parts.",
    ),
    ErrorEntry(
        "turn_started",
        409,
        "The turn has begun, so it cannot be taken back.",
        "Cancel the task, or send a message with `run` and `interrupt`.",
    ),
    ErrorEntry(
        "unauthenticated",
        401,
        "The server cannot tell who sent the request.",
        "Sign in at `POST /auth/token`.",
    ),
    ErrorEntry(
        "unavailable",
        503,
        "Part of the server is not working. The message says which.",
        "Send the request again after `Retry-After` seconds; if it keeps failing, read the "
        "server's log and restart the server.",
    ),
    ErrorEntry(
        "unknown_model",
        400,
        "There is no agent of this name (`model`), or the agent has no such model (`agent_model`).",
        "Send one of the names in the message.",
    ),
    ErrorEntry(
        "unknown_template",
        400,
        "There is no template of this name, or it is not built yet.",
        "Send one of the names in the message, or run `./run.sh build-template` on the server.",
    ),
    ErrorEntry(
        "unsupported_media_type",
        415,
        "The body is not sent as JSON.",
        "Send `Content-Type: application/json`.",
    ),
    ErrorEntry(
        "url_too_long",
        414,
        "The URL is longer than 8,000 characters.",
        "Send long values in the body.",
    ),
    ErrorEntry(
        "user_banned",
        401,
        "The account is banned in Supabase.",
        "Ask whoever runs the Supabase project.",
    ),
    ErrorEntry(
        "user_expired",
        401,
        "The test user has expired.",
        "Create a new one with `POST /test-users`.",
    ),
    ErrorEntry(
        "user_id_invalid",
        401,
        "`X-User-ID` is not a UUID.",
        "Send a UUID.",
    ),
    ErrorEntry(
        "user_unknown",
        401,
        "The token's user was deleted, here or in Supabase.",
        "Sign in again.",
    ),
    ErrorEntry(
        "webhook_secret_missing",
        403,
        "The server accepts no webhook deliveries because it has no secret to check them with.",
        "Set `GITHUB_WEBHOOK_SECRET`.",
    ),
)
