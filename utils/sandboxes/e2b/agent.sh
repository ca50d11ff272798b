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

# Only positional parameters until the agent has started: this shell has the agent's environment, in
# which a variable of any name may be the user's.

# An agent that was started once is never started again, even if it has removed its traces.
if [ "$4 $5" = '1 1' ] && [ ! -e "$1.started" ] && mkdir -- "$1/agent" 2>/dev/null; then
    : >"$1.started"
    : >"$1/agent/out"
    : >"$1/agent/err"
    # Locked until the agent has ended, so that other processes can wait without polling.
    exec 9>"$1/agent/lock"
    flock 9
    exec 4<"$1/agent/lock" 7>"$1/agent/code" 6<"$1/agent/code"
    mkfifo -- "$1/agent/gate"
    exec 5<>"$1/agent/gate"
    # shellcheck disable=SC2016 # expanded by the inner shell
    setsid sh -c '
        # The agent may signal its whole group; this shell is part of it and must write the code.
        trap : HUP INT TERM
        echo $$ >"$1/agent/group"
        # Until the output is followed.
        read -r _ <&5
        rm -f -- "$1/agent/gate"
        # In a subshell: messages of this shell about signals must not appear in the output. The
        # profile of the template may extend PATH; the agent has not changed it yet.
        cd -- "$2" 2>"$1/agent/err" &&
            (exec bash -l -c "shift 6; exec \"\$@\"" agent "$@" \
                <"$3" >"$1/agent/out" 2>"$1/agent/err" 4<&- 5<&- 6<&- 7>&- 9>&-)
        echo $? >&7
        kill -9 0' keeper "$@" >/dev/null 2>&1 </dev/null &
    exec 5<&- 7>&- 9>&-
else
    # An earlier call may have lost its client a moment ago and may not have started the agent yet.
    tries=100
    until [ -s "$1/agent/group" ] || [ "$tries" -eq 0 ]; do
        [ -d "$1/agent" ] || break
        sleep 0.05
        tries=$((tries - 1))
    done
fi

# The process that prints the output has no key in its environment.
exec env -i PATH="$PATH" HOME="$HOME" sh -c "$6" follow.sh "$1/agent" "$4" "$5"
