#!/bin/sh
# Moves what a setup has made from the repository of a snapshot into a fresh clone. Prints `same` if
# the script of the repository is still the one that the setup has run.
# $1 repository, $2 work folder, $3 the script of the repository, or an empty text
scripts=${0%/*}
# shellcheck source-path=SCRIPTDIR source=setup_state.sh
. "$scripts/setup_state.sh"
set -eu
repository=$1 work=$2
cd -- "$work/earlier"
# Folders in which git has no file are moved as a whole; others may have files of the new commit.
# shellcheck disable=SC2016 # expanded by the inner shell
git ls-files --others --directory -z | xargs -0 -r sh -c '
    repository=$1
    shift
    for path; do
        path=${path%/} parent=.
        case $path in */*) parent=${path%/*} ;; esac
        mkdir -p -- "$repository/$parent"
        if [ -e "$repository/$path" ]; then
            cp -an -- "$path" "$repository/$parent/"
        else
            mv -- "$path" "$repository/$path"
        fi
    done' restore "$repository"
cd -- "$repository"
rm -rf -- "$work/earlier"
read -r ran <"$work/setup_state/script"
[ "$(hash_of "$3")" != "$ran" ] || echo same
