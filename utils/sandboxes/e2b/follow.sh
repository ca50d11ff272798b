#!/bin/sh
# Prints an agent's output from the given lines on until the agent has ended. Called by agent.sh.
#
#   follow.sh RUN STDOUT_LINE STDERR_LINE
#
# The call that starts the agent has opened the lock (4) and the exit code (6) before.
set -u

run=$1 out_line=$2 err_line=$3

lose() {
    echo "The agent has removed or replaced the files of its output below ${run%/*}." >&2
    exit 137
}

for file in out err lock; do
    { [ -f "$run/$file" ] && [ ! -L "$run/$file" ]; } || lose
done
# Opened before the agent is let go, which may remove them at once. For both directions: a FIFO that
# takes their place now would wait for a writer.
{ true 3<>"$run/out" && true 3<>"$run/err"; } 2>/dev/null || lose
exec 3<>"$run/out" 7<>"$run/err"

# An earlier follower has lost its client. The agent may have written anything there, of any length;
# 0 would mean this process.
if [ -f "$run/follower" ]; then
    for earlier in $(head -c 100 "$run/follower" 2>/dev/null | tr -cd '0-9 '); do
        [ "$earlier" -gt 1 ] 2>/dev/null && kill -9 "$earlier" 2>/dev/null
    done
fi

is_first=
if { true <&4; } 2>/dev/null; then
    is_first=yes
    flock 4 &
else
    flock 9 9<"$run/lock" &
fi
alive=$!

# print_files OUT ERR: prints both until the agent has ended.
print_files() {
    tail -n "+$out_line" -s 0.2 -f --pid="$alive" -- "$1" 2>/dev/null &
    out=$!
    tail -n "+$err_line" -s 0.2 -f --pid="$alive" -- "$2" 1>&2 2>/dev/null &
    err=$!
}

# Waits until a process watches its file; returns 1 when it has ended, does not watch it although it
# has opened it, or opens nothing for seconds. Sleeps meanwhile: on a busy machine the process needs this one's place.
watches() {
    tries=0 opened=0
    while [ -e "/proc/$1" ] && [ "$tries" -lt 1000 ] && [ "$opened" -lt 20 ]; do
        while read -r word _; do
            [ "$word" != inotify ] || return 0
        done 2>/dev/null <"/proc/$1/fdinfo/4"
        tries=$((tries + 1))
        [ ! -e "/proc/$1/fd/3" ] || opened=$((opened + 1))
        sleep 0.002
    done
    return 1
}

# `tail` looks every 0.2 s at a file whose name is a link, as those of descriptors are. The kernel
# tells it at once of changes of others. Before the agent is let go nobody replaces them, and there
# is nothing to print.
watched=
if [ "$is_first" ]; then
    print_files "$run/out" "$run/err" 3<&- 4<&- 6<&- 7<&-
    if watches "$out" && watches "$err"; then
        watched=yes
    else
        kill -9 "$out" "$err" 2>/dev/null
        wait "$out" "$err" 2>/dev/null
    fi
fi
[ "$watched" ] || print_files /dev/fd/3 /dev/fd/7
# Opened for both directions: a FIFO in its place would wait for a reader.
[ "$is_first" ] || rm -rf -- "$run/follower" 2>/dev/null
{ echo "$$ $alive $out $err" 1<>"$run/follower"; } 2>/dev/null
[ ! -p "$run/gate" ] || echo 1<>"$run/gate"

wait "$alive"
# Setting the size wakes both tail processes at once; they then see that the agent has ended.
truncate -s +0 /dev/fd/3 /dev/fd/7 2>/dev/null
wait

# After SIGKILL to the whole group no process is left to write the code.
if ! { true <&6; } 2>/dev/null; then
    [ -f "$run/code" ] || lose
    exec 6<"$run/code"
fi
code=$(head -c 8 <&6)
code=${code%%"
"*}
case $code in
'' | *[!0-9]*) code=137 ;;
esac
exit "$code"
