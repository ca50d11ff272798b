#!/bin/sh
# Shows an agent's output from given lines on, until it has ended; the second half of agent.sh.
#
#   follow.sh RUN STDOUT_LINE STDERR_LINE
set -u

run=$1 out_line=$2 err_line=$3

# One that was started earlier has lost its listener.
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
# Wakes the two at once, since a size was set; they then see that they are not needed any more.
truncate -s +0 "$run/out" "$run/err"
wait

# SIGKILL to its whole group leaves nobody to write the code.
code=137
read -r code 2>/dev/null <"$run/code" || true
exit "$code"
