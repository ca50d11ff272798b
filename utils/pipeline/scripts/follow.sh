#!/bin/sh
# Prints an agent's output from the given lines on until the agent has ended. Called by agent.sh.
#
#   follow.sh RUN STDOUT_LINE STDERR_LINE
set -u

run=$1 out_line=$2 err_line=$3

# An earlier follower has lost its client.
if read -r earlier 2>/dev/null <"$run/follower"; then
    # shellcheck disable=SC2086 # several numbers
    kill -9 $earlier 2>/dev/null
fi

flock 9 9<"$run/lock" &
alive=$!
tail -n "+$out_line" -s 0.2 -f --pid="$alive" "$run/out" 2>/dev/null &
out=$!
tail -n "+$err_line" -s 0.2 -f --pid="$alive" "$run/err" 1>&2 2>/dev/null &
err=$!
echo "$$ $alive $out $err" >"$run/follower"

wait "$alive"
# Setting the size wakes both tail processes at once; they then see that the agent has ended.
truncate -s +0 "$run/out" "$run/err"
wait

# After SIGKILL to the whole group no process is left to write the code.
code=137
read -r code 2>/dev/null <"$run/code" || true
exit "$code"
