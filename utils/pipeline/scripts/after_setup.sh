#!/bin/sh
# Makes what a setup has left no part of the result, and undoes its changes to files of git.
# $1 repository, $2 work folder, $3 the commit to go back to, empty in a kept repository
# $4 the key of a snapshot, or an empty text; $5 the script of the repository, or an empty text
#
# Prints `whole` if a snapshot can hold all that the setup has done: files of Git LFS and submodules are
# made in the folder .git, which a later task does not get.
#
# The new files are listed in .git/info/exclude for the agent and its git, and in WORK/prepared for
# the capture.
scripts=${0%/*}
# shellcheck source-path=SCRIPTDIR source=untracked.sh
. "$scripts/untracked.sh"
# shellcheck source-path=SCRIPTDIR source=setup_state.sh
. "$scripts/setup_state.sh"
set -eu
repository=$1 work=$2 commit=$3 key=$4 setup_script=$5
cd -- "$repository"
if [ -n "$commit" ]; then
    # Files that `git lfs pull` has fetched are no changes.
    set --
    if [ -d .git/lfs ] && command -v git-lfs >/dev/null; then
        set -- -c 'filter.lfs.clean=git-lfs clean -- %f' -c 'filter.lfs.smudge=git-lfs smudge -- %f'
    fi
    git "$@" reset --quiet --hard "$commit"
    : >"$work/untracked_before"
    : >"$work/prepared"
fi
list_untracked >"$work/untracked_after"
LC_ALL=C comm -13 "$work/untracked_before" "$work/untracked_after" >>"$work/prepared"
mkdir -p .git/info
cat "$work/prepared" >>.git/info/exclude
# The capture takes for changed what is newer than the copy of .git/config: see clone.sh.
if [ -f "$work/git_config" ] && [ -n "$commit" ]; then
    cp -- "$work/git_config" "$work/git_config.next"
    mv -- "$work/git_config.next" "$work/git_config"
    tries=0
    until [ "$work/git_config.next" -nt "$work/git_config" ] || [ "$tries" -gt 100000 ]; do
        : >"$work/git_config.next"
        tries=$((tries + 1))
    done
fi
if [ -n "$key" ] && [ ! -e .git/lfs ] && [ ! -e .git/modules ]; then
    mkdir -p -- "$work/setup_state"
    echo "$key" >"$work/setup_state/key"
    hash_of "$setup_script" >"$work/setup_state/script"
    echo whole
fi
