# shellcheck shell=bash
# Runs a command of the user. Its output, up to a size, goes to a file.
#
# Sourced by check.sh and setup.sh. The exit code of the command ends the script.

# run_recorded FILE KILOBYTES COMMAND...
run_recorded() {
    local output=$1 kilobytes=$2 reader code
    shift 2
    # Written at once, other than by head: the last lines count also when the command hangs.
    exec 3> >(trap '' XFSZ && ulimit -f "$kilobytes" && cat >"$output" 2>/dev/null; exec cat >/dev/null)
    reader=$!
    # Without the lock of recorded commands, which would wait for all that the command leaves running.
    "$@" </dev/null >&3 2>&1 3>&- 8>&-
    code=$?
    exec 3>&-
    # What the command has left running may hold its output open.
    for _ in {1..20}; do
        kill -0 "$reader" 2>/dev/null || break
        sleep 0.05
    done
    exit "$code"
}
