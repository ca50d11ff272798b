# shellcheck shell=bash
# Runs a command in a copy of the repository. Its output, up to a size, goes to a file.
# $1 repository, $2 folder of the check, $3 most kilobytes, $4 command
chmod -R u+rwx -- "$2" 2>/dev/null
rm -rf -- "$2"
mkdir -p -- "$2" && cp -a -- "$1" "$2/repository" && cd -- "$2/repository" || exit
echo started
# Written at once, other than by head: the last lines count also when the command hangs.
exec 3> >(trap '' XFSZ && ulimit -f "$3" && cat >"$2/output" 2>/dev/null; exec cat >/dev/null)
reader=$!
# Without the lock of recorded commands, which would wait for all that the command leaves running.
bash -lc "$4" </dev/null >&3 2>&1 3>&- 8>&-
code=$?
exec 3>&-
# What the command has left running may hold its output open.
for _ in {1..20}; do
    kill -0 "$reader" 2>/dev/null || break
    sleep 0.05
done
exit "$code"
