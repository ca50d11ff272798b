#!/bin/sh
# Notes which new files a kept repository has before its maintenance.
# $1 repository, $2 work folder
scripts=${0%/*}
# shellcheck source-path=SCRIPTDIR source=untracked.sh
. "$scripts/untracked.sh"
cd -- "$1" && list_untracked >"$2/untracked_before"
