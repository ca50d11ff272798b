#!/bin/sh
# Makes the files of a task again in a fresh clone: its base commit with its stored patch.
#
#   rebuild.sh REPOSITORY BASE_COMMIT PATCH URL DEPTH CREDENTIAL_URL
#
# Prints the commit and the tree. PATCH is a file in mailbox format that may be missing. Standard input
# holds the output of git's credential helper (possibly empty); it is needed only when the branch no
# longer contains the base commit.
set -eu

repository=$1 base=$2 patch=$3 url=$4 depth=$5 credential_url=$6
exec 3<&0 </dev/null
cd -- "$repository"

if ! git cat-file -e "$base^{commit}" 2>/dev/null; then
    set --
    [ "$depth" -eq 0 ] || set -- --depth "$depth"
    git -c credential.helper= \
        -c "credential.$credential_url.helper=!answer() { cat <&3; }; answer" \
        fetch --quiet --no-tags --no-write-fetch-head "$@" -- "$url" "$base"
fi
exec 3<&-
git reset --quiet --hard "$base"
[ ! -s "$patch" ] || git am --quiet <"$patch"
rm -f -- "$patch" .git/ORIG_HEAD
git rev-parse --verify HEAD
git rev-parse --verify 'HEAD^{tree}'
