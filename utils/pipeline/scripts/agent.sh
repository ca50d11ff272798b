#!/bin/sh
# Starts the agent once, in a session of its own, and shows what it prints until it ends.
#
#   agent.sh WORK DIRECTORY INPUT STDOUT_LINE STDERR_LINE COMMAND...
#
# The agent works in DIRECTORY with INPUT as its standard input and writes to the folder WORK/agent:
# `out`, `err`, and `code` when it has ended. It does not notice when this script dies; called again,
# the script shows the same agent's output from the given lines on. Ends with the agent's exit code,
# which is 128 + N when signal N ended it.
set -u

work=$1 directory=$2 input=$3 out_line=$4 err_line=$5
shift 5
run=$work/agent

if mkdir -- "$run" 2>/dev/null; then
    : >"$run/out"
    : >"$run/err"
    # Held by whoever watches over the agent, so that others can wait for its end without asking.
    exec 9>"$run/lock"
    flock 9
    # shellcheck disable=SC2016 # expanded by the inner shell
    setsid sh -c '
        run=$1 directory=$2 input=$3
        shift 3
        # An agent may signal its whole group; this shell is in it, and has yet to tell how it ended.
        trap : HUP INT TERM
        echo $$ >"$run/group"
        cd -- "$directory"
        # In a shell of its own: what this one says of a signal is no output of the agent.
        (exec "$@" <"$input" >"$run/out" 2>"$run/err" 9>&-)
        echo $? >"$run/code"
        kill -9 0' keeper "$run" "$directory" "$input" "$@" >/dev/null 2>&1 </dev/null &
    exec 9>&-
else
    # Whoever starts the agent may have lost its listener a moment ago, and still be about to.
    tries=100
    until [ -s "$run/group" ] || [ "$tries" -eq 0 ]; do
        sleep 0.05
        tries=$((tries - 1))
    done
fi

# The environment of whoever shows the output holds no key.
exec env -i PATH="$PATH" HOME="$HOME" sh "$work/follow.sh" "$run" "$out_line" "$err_line"
