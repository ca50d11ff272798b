#!/bin/sh
# Starts the agent once, in a session of its own, and prints its output until it ends.
#
#   agent.sh WORK DIRECTORY INPUT STDOUT_LINE STDERR_LINE FOLLOW COMMAND...
#
# The agent works in DIRECTORY with INPUT as its standard input. The folder WORK/agent receives
# `out`, `err`, and `code` when the agent has ended. The agent keeps running when this script is
# ended; when called again, the script prints the output of the same agent from the given lines on.
# FOLLOW is the text of follow.sh. Exits with the agent's exit code, which is 128 + N when signal N
# ended it.
#
# The agent can write to WORK. The first call therefore opens what it needs before the agent starts.
set -u

work=$1 directory=$2 input=$3 out_line=$4 err_line=$5 follow=$6
shift 6
run=$work/agent

# An agent that was started once is never started again, even if it has removed its traces.
if [ "$out_line $err_line" = '1 1' ] && [ ! -e "$work.started" ] && mkdir -- "$run" 2>/dev/null; then
    : >"$work.started"
    : >"$run/out"
    : >"$run/err"
    # Locked until the agent has ended, so that other processes can wait without polling.
    exec 9>"$run/lock"
    flock 9
    exec 4<"$run/lock" 7>"$run/code" 6<"$run/code"
    mkfifo -- "$run/gate"
    exec 5<>"$run/gate"
    # shellcheck disable=SC2016 # expanded by the inner shell
    setsid sh -c '
        run=$1 directory=$2 input=$3
        shift 3
        # The agent may signal its whole group; this shell is part of it and must write the code.
        trap : HUP INT TERM
        echo $$ >"$run/group"
        # Until the output is followed.
        read -r _ <&5
        # In a subshell: messages of this shell about signals must not appear in the output. The
        # profile of the template may extend PATH; the agent has not changed it yet.
        cd -- "$directory" 2>"$run/err" &&
            (exec bash -l -c "exec \"\$@\"" agent "$@" \
                <"$input" >"$run/out" 2>"$run/err" 4<&- 5<&- 6<&- 7>&- 9>&-)
        echo $? >&7
        kill -9 0' keeper "$run" "$directory" "$input" "$@" >/dev/null 2>&1 </dev/null &
    exec 5<&- 7>&- 9>&-
else
    # An earlier call may have lost its client a moment ago and may not have started the agent yet.
    tries=100
    until [ -s "$run/group" ] || [ "$tries" -eq 0 ]; do
        [ -d "$run" ] || break
        sleep 0.05
        tries=$((tries - 1))
    done
fi

# The process that prints the output has no key in its environment.
exec env -i PATH="$PATH" HOME="$HOME" sh -c "$follow" follow.sh "$run" "$out_line" "$err_line"
