# shellcheck shell=bash
# Runs a command in a copy of the repository. Its output, up to a size, goes to a file.
# $1 repository, $2 folder of the check, $3 most kilobytes, $4 command
scripts=${0%/*}
# shellcheck source-path=SCRIPTDIR source=recorded_output.sh
. "$scripts/recorded_output.sh"
chmod -R u+rwx -- "$2" 2>/dev/null
rm -rf -- "$2"
mkdir -p -- "$2" && cp -a -- "$1" "$2/repository" && cd -- "$2/repository" || exit
echo started
run_recorded "$2/output" "$3" bash -lc "$4"
