#!/usr/bin/env bash
# Installs missing packages and runs one command; `./run.sh help` lists the commands.
# Written for bash 3.2, which is what macOS ships.
set -euo pipefail

START_FOLDER=$PWD
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

VENV=.venv
VENV_PYTHON=$VENV/bin/python
# Tests often wait for processes. All tests of a module run in one process with its fixtures.
TEST_PROCESSES=5
FAILED_CHECKS=
# What has to be ended or removed when this script ends early.
JOB=
NEW_VENV=
TEMPORARY_FOLDER=

usage() {
    cat <<'TEXT'
Usage: ./run.sh [command] [options]; every command has --help and --version

  serve    start the server on http://127.0.0.1:8000 (default command)
  worker   run tasks without HTTP, on this or a second machine (PostgreSQL, Supabase)
  demo     run a sample task from prompt to diff; see ./run.sh demo --help
  test     run checks and tests (--all: the exhaustive ones too); takes arguments of pytest
  bench    run the benchmarks; see ./run.sh bench --help
  doctor   check your setup and tell you how to fix what fails
  add-user add a user who signs in with an API key, and print the key
  migrate  update the tables of the database in DATABASE_URL
  archive  print a task that was archived (ARCHIVE=true)
  backup   write the embedded database and the keys into one file
  restore  put a backup into the data folder
  cleanup  end old and lost sandboxes, remove old tasks; a server does it by itself
  setup    install the packages of the server and nothing else
  help     print this text

  supabase-sql    generate supabase.sql from the migrations; --check compares only
  rotate-keys     encrypt the stored secrets of all users with the newest SECRET_KEY
  build-template  build a template for cloud sandboxes; needs E2B_API_KEY
  install-agents  install the agents' programs for isolated sandboxes; needs npm
  supabase-local  run a local Supabase project until Ctrl-C
  test-agents     run the tests that use the real programs of the agents
  lock            pin the packages that setup and tests install; --upgrade raises versions

Settings are read from the environment and from .env; .env.example lists them.
TEXT
}

say() {
    printf '%s\n' "$@" >&2
}

fail() {
    say "$@"
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Prints the versions of Python that are on PATH, all of which are too old.
pythons_found() {
    local name found=
    for name in python3 python; do
        if command -v "$name" >/dev/null 2>&1; then
            found="${found:+$found, }$("$name" --version 2>&1) at $(command -v "$name")"
        fi
    done
    [ -z "$found" ] || echo "; found: $found"
}

find_python() {
    local name
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        if is_new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    if has_uv && name=$(uv python find --no-project '>=3.11' 2>/dev/null); then
        echo "$name"
        return
    fi
    fail "Python 3.11 or newer was not found on PATH$(pythons_found). Install it:" \
        "$(if has_uv; then echo "  with uv:        uv python install 3.13"; fi)" \
        "  Debian, Ubuntu: sudo apt install python3 python3-venv" \
        "  Fedora:         sudo dnf install python3" \
        "  macOS:          brew install python" \
        "  anywhere:       https://www.python.org/downloads/"
}

require_venv_module() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 || fail \
        "$1 cannot create virtual environments: install its modules venv and ensurepip." \
        "  Debian, Ubuntu: sudo apt install python3-venv"
}

require_git() {
    local version major rest
    version=$(git --version 2>/dev/null) || fail \
        "git was not found on PATH. Install version 2.30 or newer:" \
        "  Debian, Ubuntu: sudo apt install git" \
        "  macOS:          xcode-select --install"
    version=${version#git version }
    major=${version%%.*}
    rest=${version#*.}
    if [ "$major" -lt 2 ] || { [ "$major" -eq 2 ] && [ "${rest%%.*}" -lt 30 ]; }; then
        fail "git $version is too old. Install version 2.30 or newer."
    fi
}

# Makes a folder for temporary files, which is removed when this script ends.
make_temporary_folder() {
    TEMPORARY_FOLDER=$(mktemp -d "$@")
    trap remove_temporary_folder EXIT
}

remove_temporary_folder() {
    rm -rf "$TEMPORARY_FOLDER"
    TEMPORARY_FOLDER=
    trap - EXIT
}

# Ends this script on a signal: what runs ends with it, and nothing half made stays.
stop() {
    trap '' INT TERM HUP
    stop_job
    if [ -n "$NEW_VENV" ]; then
        rm -rf "$VENV"
    fi
    say "" "Stopped." || true
    exit "$1"
}

# SIGINT first: pip takes back what it has begun.
stop_job() {
    local name waited=0
    [ -n "$JOB" ] || return 0
    for name in INT TERM KILL; do
        kill -s "$name" -- "-$JOB" 2>/dev/null || return 0
        while [ "$waited" -lt 30 ]; do
            kill -0 -- "-$JOB" 2>/dev/null || return 0
            sleep 0.1
            waited=$((waited + 1))
        done
        waited=0
    done
}

stop_on_signals() {
    trap 'stop 129' HUP
    trap 'stop 130' INT
    trap 'stop 143' TERM
}

# Runs a command without output; if it fails, prints its output and exits. It is a job with its own
# process group, so that a signal is not kept waiting and reaches all of its processes.
quietly() {
    local output=$TEMPORARY_FOLDER/output status=0
    set -m
    TMPDIR=$TEMPORARY_FOLDER "$@" </dev/null >"$output" 2>&1 &
    JOB=$!
    set +m
    wait "$JOB" || status=$?
    JOB=
    if [ "$status" -ne 0 ]; then
        say "$(cat "$output")" ""
        if grep -qiE 'resolution|resolve|unreachable|connection|timed out|retries|proxy|dns error|failed to fetch|error sending' "$output"; then
            fail "The packages could not be downloaded. Check the network; if this machine needs a proxy, set HTTPS_PROXY. Then run the same command again."
        fi
        fail "The setup failed; see the lines above. Fix the cause and run the same command again."
    fi
}

has_uv() {
    command -v uv >/dev/null 2>&1
}

has_usable_venv() {
    is_new_enough "$VENV_PYTHON" && { has_uv || "$VENV_PYTHON" -m pip --version >/dev/null 2>&1; }
}

make_venv() {
    local python
    python=$(find_python)
    NEW_VENV=yes
    rm -rf "$VENV"
    if has_uv; then
        quietly uv venv --python "$python" "$VENV"
    else
        require_venv_module "$python"
        quietly "$python" -m venv "$VENV"
    fi
}

install_packages() {
    if has_uv; then
        quietly uv pip install --quiet --python "$VENV_PYTHON" --require-hashes -r "$1"
    else
        # A lock file names every package, so pip has nothing to resolve.
        quietly "$VENV_PYTHON" -m pip install --quiet --disable-pip-version-check \
            --require-hashes --no-deps -r "$1"
    fi
}

# Installs the packages of a lock file. The stamp is written last, so an interrupted run leaves no
# trace that looks like a finished one.
ensure_packages() {
    local lock=$1 note=$2 stamp=$VENV/.installed-$1 wanted
    wanted="$(cksum <"$lock") $("$VENV_PYTHON" --version 2>/dev/null || true)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    require_git
    say "Setting up: installing packages ($note)"
    make_temporary_folder
    stop_on_signals
    has_usable_venv || make_venv
    rm -f "$stamp"
    install_packages "$lock"
    printf '%s %s\n' "$(cksum <"$lock")" "$("$VENV_PYTHON" --version)" >"$stamp"
    NEW_VENV=
    remove_temporary_folder
}

# Writes one lock file: for every Python from 3.11 on and every platform, with all hashes. Versions
# that are locked already stay while they fit.
compile_lock() {
    local uv=$1 name=$2
    shift 2
    quietly "$uv" pip compile --quiet --no-config --universal --python-version 3.11 \
        --generate-hashes --custom-compile-command "./run.sh lock" -o "$name.lock" "$name.txt" "$@"
}

# Works on copies, which take the place of the files when all are complete.
lock_packages() {
    local uv=uv home=$PWD
    make_temporary_folder
    stop_on_signals
    if ! has_uv; then
        say "Installing uv into a temporary folder"
        quietly "$(find_python)" -m venv "$TEMPORARY_FOLDER/uv"
        uv=$TEMPORARY_FOLDER/uv/bin/uv
        quietly "${uv%uv}python" -m pip install --quiet --disable-pip-version-check "uv>=0.9"
    fi
    cp requirements*.txt requirements*.lock "$TEMPORARY_FOLDER"
    cd "$TEMPORARY_FOLDER"
    compile_lock "$uv" requirements "$@"
    # Tests run with the versions that the server is given.
    compile_lock "$uv" requirements-dev --constraint requirements.lock "$@"
    trap '' INT TERM HUP
    cp requirements*.lock "$home"
    cd "$home"
    remove_temporary_folder
}

# Runs one check of `test`, prints its result and continues if it fails.
check() {
    local name=$1 started=$SECONDS
    shift
    if "$@"; then
        echo "ok      $name ($((SECONDS - started)) s)"
    else
        echo "FAILED  $name ($((SECONDS - started)) s)"
        FAILED_CHECKS="${FAILED_CHECKS:+$FAILED_CHECKS, }$name"
    fi
}

check_scripts() {
    local script scripts=(run.sh .ci/run)
    for script in utils/agents/*.sh utils/pipeline/scripts/*.sh; do
        if [ -f "$script" ]; then
            scripts+=("$script")
        fi
    done
    nice "$VENV/bin/shellcheck" "${scripts[@]}"
}

# The checks that take long run beside the tests, with the processor time that those leave.
slow_checks() {
    check "mypy" nice "$VENV_PYTHON" -m mypy --no-error-summary
    check "shellcheck" check_scripts
    [ -z "$FAILED_CHECKS" ]
}

# Begins the slow checks as a job with its own process group, which ends with this script.
begin_slow_checks() {
    [ -n "$TEMPORARY_FOLDER" ] || make_temporary_folder
    trap 'stop_job; remove_temporary_folder' EXIT
    set -m
    slow_checks </dev/null >"$TEMPORARY_FOLDER/checks" 2>&1 &
    JOB=$!
    set +m
}

# Waits for the slow checks and prints what they say; fails if one of them failed.
finish_slow_checks() {
    local status=0
    wait "$JOB" || status=$?
    JOB=
    cat "$TEMPORARY_FOLDER/checks"
    return "$status"
}

# Tells whether one or two test files are named and nothing else: they have passed before the
# processes of a larger run have started.
names_few_files() {
    local argument files=0
    for argument in "$@"; do
        case $argument in
            *.py | *.py::*) files=$((files + 1)) ;;
            -n* | --numprocesses*) return 1 ;;
            -*) ;;
            *) [ ! -e "$argument" ] || return 1 ;;
        esac
    done
    [ "$files" -ge 1 ] && [ "$files" -le 2 ]
}

# Makes a temporary folder in memory where there is room for what the tests write. A disk has the
# tests wait: each clone is many small files, each row of SQLite a flush.
use_memory() {
    local free_kilobytes
    free_kilobytes=$(df -kP /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ "${free_kilobytes:-0}" -lt 6000000 ]; then
        return
    fi
    make_temporary_folder /dev/shm/async-code-XXXXXX || return 0
    # PostgreSQL refuses to run as root, so its user has to reach its data in here.
    chmod 711 "$TEMPORARY_FOLDER"
    printf '#!/bin/sh\n' >"$TEMPORARY_FOLDER/program"
    chmod +x "$TEMPORARY_FOLDER/program"
    if "$TEMPORARY_FOLDER/program" 2>/dev/null; then
        export TMPDIR=$TEMPORARY_FOLDER
    fi
}

# pytest gets the names of the checks that failed before it for its summary.
run_tests() {
    local processes=$TEST_PROCESSES status=0
    if names_few_files "$@"; then
        processes=0
    fi
    # The tests start hundreds of interpreters, each of which would compile everything anew.
    unset PYTHONDONTWRITEBYTECODE
    # pytest and the checks end by themselves on the signals of a terminal.
    trap - INT TERM HUP
    use_memory
    begin_slow_checks
    check "ruff format" "$VENV_PYTHON" -m ruff format --check --quiet .
    check "ruff check" "$VENV_PYTHON" -m ruff check --quiet .
    FAILED_CHECKS=$FAILED_CHECKS "$VENV_PYTHON" -m pytest -p tests.support.suite.closing_summary \
        -n "$processes" --dist loadfile --no-loadscope-reorder "$@" || status=$?
    # Somebody who interrupts the tests does not wait for the checks.
    [ "$status" -ne 2 ] || return "$status"
    finish_slow_checks || status=1
    [ -z "$FAILED_CHECKS" ] || status=1
    return "$status"
}

# Prints what a command does, and its options where its packages are installed: help installs
# nothing.
help_of() {
    if ! "$VENV_PYTHON" -m utils.commands "$1" --help 2>/dev/null; then
        usage | grep -E "^  $1( |\$)"
    fi
}

version() {
    sed -n 's/^VERSION = "\(.*\)"$/\1/p' utils/config/version.py
}

# Exits with the right code when the first argument asks for help or the version only.
answer_help() {
    local command=$1 argument
    shift
    for argument in "$@"; do
        case $argument in
            -h | --help)
                if help_of "$command"; then exit 0; fi
                return
                ;;
            --version) version; exit 0 ;;
            --) return ;;
        esac
    done
}

run_command() {
    exec "$VENV_PYTHON" -m utils.commands "$@"
}

refuse_arguments() {
    local command=$1
    shift
    [ $# -eq 0 ] || { say "./run.sh $command: unknown option $1. See ./run.sh $command --help"; exit 2; }
}

main() {
    local command=${1:-serve}
    case $command in
        --version) version; return ;;
        # `PORT=8001 ./run.sh --help` is the help of run.sh; other options belong to `serve`.
        -h | --help | help) usage; return ;;
        -*) set -- serve "$@"; command=serve ;;
    esac
    if [ $# -gt 0 ]; then
        shift
    fi
    answer_help "$command" "$@"
    case $command in
        setup) refuse_arguments setup "$@" ;;
        lock) [ "${1:-}" = --upgrade ] || refuse_arguments lock "$@" ;;
    esac
    case $command in
        serve | worker | demo | doctor | add-user | migrate | archive | backup | restore | cleanup | \
            setup | build-template | install-agents | supabase-sql | rotate-keys)
            ensure_packages requirements.lock "first run only, about 30 s"
            ;;
        test | bench | test-agents | supabase-local)
            ensure_packages requirements-dev.lock "first run only, about a minute"
            ;;
    esac
    case $command in
        serve | worker | demo | test | bench) require_git ;;
    esac
    case $command in
        demo) run_command demo --from "$START_FOLDER" "$@" ;;
        backup | restore) run_command "$command" --from "$START_FOLDER" "$@" ;;
        serve | worker | bench | doctor | add-user) run_command "$command" "$@" ;;
        migrate | archive | cleanup) run_command "$command" "$@" ;;
        build-template | install-agents | rotate-keys) run_command "$command" "$@" ;;
        supabase-sql | supabase-local) run_command "$command" "$@" ;;
        test) run_tests "$@" ;;
        test-agents) exec "$VENV_PYTHON" -m pytest tests/real_agents "$@" ;;
        lock) lock_packages "$@" ;;
        setup) ;;
        *)
            say "Unknown command: $command" ""
            usage >&2
            exit 2
            ;;
    esac
}

main "$@"
