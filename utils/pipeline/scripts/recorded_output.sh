# shellcheck shell=bash
# Runs a command of the user. Its output, up to a size, goes to a file.
#
# Sourced by check.sh and setup.sh. The exit code of the command ends the script. The command inherits
# these variables if the user has some of the same names, so they have names that users cannot set.

# run_recorded FILE KILOBYTES COMMAND...
run_recorded() {
    local async_code_output=$1 async_code_kilobytes=$2 async_code_reader async_code_code
    shift 2
    # Written at once, other than by head: the last lines count also when the command hangs.
    exec 3> >(trap '' XFSZ && ulimit -f "$async_code_kilobytes" && cat >"$async_code_output" 2>/dev/null; exec cat >/dev/null)
    async_code_reader=$!
    # Without the lock of recorded commands, which would wait for all that the command leaves running.
    "$@" </dev/null >&3 2>&1 3>&- 8>&-
    async_code_code=$?
    exec 3>&-
    # What the command has left running may hold its output open.
    for _ in {1..20}; do
        kill -0 "$async_code_reader" 2>/dev/null || break
        sleep 0.05
    done
    exit "$async_code_code"
}
