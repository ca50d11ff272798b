#!/bin/sh
# Puts the repository of a snapshot aside, and prints `found`, if its setup was made for this key.
# $1 repository, $2 work folder, $3 key
[ -d "$1/.git" ] && [ -f "$2/setup_state/key" ] || exit 0
read -r key <"$2/setup_state/key"
[ "$key" = "$3" ] || exit 0
rm -rf -- "$2/earlier"
mv -- "$1" "$2/earlier" && echo found
