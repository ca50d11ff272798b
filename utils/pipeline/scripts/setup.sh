# shellcheck shell=bash
# Runs a script that prepares the sandbox, in the repository. Its output goes to a file.
# $1 repository, $2 file for the output, $3 most kilobytes, $4 file of the script
scripts=${0%/*}
# shellcheck source-path=SCRIPTDIR source=recorded_output.sh
. "$scripts/recorded_output.sh"
cd -- "$1" || exit
if [ ! -f "$4" ]; then
    echo missing
    exit 0
fi
rm -rf -- "$2"
echo started
run_recorded "$2" "$3" bash -l -- "$4"
