#!/bin/sh
# Clones one branch and prints the commit it starts from, and its tree. With an empty BRANCH it asks
# for that of HEAD and prints `branch NAME` before, or only `no branch`; then MIRROR is empty.
#
#   clone.sh URL BRANCH REPOSITORY CONFIG_COPY DEPTH MIRROR CREDENTIAL_URL
#
# Standard input holds the output of git's credential helper (possibly empty). git reads it from
# file descriptor 3, so the token is in no argument, environment variable, file or .git/config. git
# requests it for CREDENTIAL_URL only. MIRROR is empty or a bare repository of this branch alone; it
# is updated with the caller's own credential before anything is cloned from it.
set -eu

url=$1 branch=$2 repository=$3 config_copy=$4 depth=$5 mirror=$6 credential_url=$7
# A clone that was killed leaves a part of the repository.
[ ! -e "$repository" ] || rm -rf -- "$repository"
credential=
while IFS= read -r line; do
    credential="$credential$line
"
done
exec </dev/null

remote_git() {
    # A command of the shell itself, which no list of processes shows.
    printf '%s' "$credential" 2>/dev/null |
        git -c credential.helper= \
            -c "credential.$credential_url.helper=!answer() { cat <&3; }; answer" \
            "$@" 3<&0 </dev/null
}

# `git clone` by itself would guess a branch where HEAD names none.
find_branch() {
    heads=$(remote_git ls-remote --symref -- "$url" HEAD)
    while IFS='	' read -r reference name; do
        case "$reference $name" in
        'ref: refs/heads/'*' HEAD') branch=${reference#ref: refs/heads/} ;;
        esac
    done <<END
$heads
END
    if [ -z "$branch" ]; then
        echo 'no branch'
        exit
    fi
    printf 'branch %s\n' "$branch"
}

[ -n "$branch" ] || find_branch

clone() {
    git clone --quiet --no-tags --single-branch --template= --branch "$branch" "$@"
}

# Returns 1 when history was rewritten. `set -e` has no effect here because the caller tests the
# result, so every failure has to return by itself: a caller without access to the repository must
# not read the mirror.
refresh_mirror() {
    read -r before <"$mirror/refs/heads/$branch" || return 128
    remote_git -C "$mirror" fetch --quiet --no-tags --no-write-fetch-head -- \
        "$url" "+refs/heads/$branch:refs/heads/$branch" || return 128
    read -r after <"$mirror/refs/heads/$branch" || return 128
    [ "$before" = "$after" ] || git -C "$mirror" merge-base --is-ancestor "$before" "$after"
}

# Takes the clone that the server made of the mirror before, and adds what the mirror got since.
take_checkout() {
    made=
    read -r made 2>/dev/null <"$mirror/checkout/.git/refs/heads/$branch" || return 1
    mv -- "$mirror/checkout" "$repository" || return 1
    [ "$made" = "$after" ] || update_checkout || return 1
}

# Files whose attributes were changed may have to be converted anew; a clone does that.
update_checkout() {
    remote=refs/remotes/origin/$branch
    git -C "$repository" fetch --quiet --no-tags --no-write-fetch-head -- "$mirror" \
        "+refs/heads/$branch:$remote" || return 1
    changed=$(git -C "$repository" diff --name-only "$made" "$after" -- .gitattributes \
        '*/.gitattributes') || return 1
    [ -z "$changed" ] || return 1
    git -C "$repository" merge --quiet --ff-only "$remote" 2>/dev/null || return 1
    rm -f -- "$repository/.git/ORIG_HEAD"
}

# As a clone that was made before does, unless git writes the address in another way.
names_origin() {
    while IFS= read -r line; do
        [ "$line" != "	url = $url" ] || return 0
    done <"$repository/.git/config"
    return 1
}

if [ -n "$mirror" ] && [ -e "$mirror/HEAD" ]; then
    status=0
    refresh_mirror || status=$?
    case $status in
    # Copies instead of hard links: an agent may damage the files of its own clone.
    0)
        if ! take_checkout; then
            [ ! -e "$repository" ] || rm -rf -- "$repository"
            clone --no-hardlinks -- "$mirror" "$repository"
        fi
        ;;
    # History was rewritten: the mirror holds commits that this caller's token cannot fetch. Only
    # commits that the branch contains are copied, and the backend deletes the mirror.
    1) clone --no-local -- "$mirror" "$repository" && echo 'mirror outdated' ;;
    *) exit "$status" ;;
    esac
    names_origin || git -C "$repository" config remote.origin.url "$url"
else
    set -- --no-hardlinks
    [ "$depth" -eq 0 ] || set -- --depth "$depth"
    remote_git clone --quiet --no-tags --single-branch --template= --branch "$branch" "$@" \
        -- "$url" "$repository"
fi

# `--branch` also accepts a tag, but a pull request needs a branch.
head=
read -r head <"$repository/.git/HEAD" || true
if [ "$head" != "ref: refs/heads/$branch" ]; then
    echo "fatal: Remote branch $branch not found in upstream origin" >&2
    exit 128
fi

# Built-in commands instead of cp: a process takes as long as a small git command.
while IFS= read -r line; do
    printf '%s\n' "$line"
done <"$repository/.git/config" >"$config_copy"
git -C "$repository" rev-parse HEAD 'HEAD^{tree}'

# The capture takes files with a later time than that of the copy for changed. The clock of a file
# system stands still for some milliseconds, in which an agent could start.
tries=0
until [ "$config_copy.next" -nt "$config_copy" ] || [ "$tries" -gt 100000 ]; do
    : >"$config_copy.next"
    tries=$((tries + 1))
done
