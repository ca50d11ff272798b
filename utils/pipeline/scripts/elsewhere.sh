# shellcheck shell=sh
# Finds the work of the agent that is not at HEAD: on other branches, in linked worktrees, stashed, or
# in commits that nothing names.
#
# Sourced by capture.sh. Takes the one branch that is ahead of the base when nothing
# else was changed: sets $head, $head_tree and $tree. Writes the rest to $run/notes.
# shellcheck disable=SC2034,SC2154 # used and set by capture.sh

MOST_REFERENCES=20

look_elsewhere() {
    read_references
    base_tree=$(git rev-parse --verify "$base^{tree}")
    : >"$run/taken"
    if [ "$head" = "$base" ] && [ "$tree" = "$base_tree" ]; then
        take_branch
    fi
    list_worktrees >"$run/found"
    note worktrees "$run/found"
    if [ ! -L "$run/refs" ] || ! list_unmerged_references >"$run/found"; then
        echo .git/refs >"$run/found"
        note unreadable "$run/found"
        return 0
    fi
    sed -n 's/ refs\/heads\// /p' "$run/found" >"$run/some"
    note branches "$run/some"
    grep -v ' refs/heads/' "$run/found" >"$run/some" || true
    note references "$run/some"
    list_stashes >"$run/found"
    note stashes "$run/found"
    list_unnamed_commits >"$run/found"
    note commits "$run/found"
}

# Prints the tips of branches that are ahead of the base, without those that came from the remote.
list_branches_ahead() {
    git for-each-ref --contains="$base" --no-merged="$base" \
        --format='%(objectname)' refs/heads >"$run/tips" || return 0
    sort -u "$run/tips" | head -n "$MOST_REFERENCES" | while read -r tip; do
        count=$(git rev-list --count "$tip" --not "$base" --remotes)
        [ "$count" -eq 0 ] || echo "$tip"
    done
}

# Takes a branch when it has all commits that other branches ahead have.
take_branch() {
    list_branches_ahead >"$run/ahead"
    [ -s "$run/ahead" ] || return 0
    # shellcheck disable=SC2046 # names of commits
    tip=$(git merge-base --independent $(cat "$run/ahead")) || return 0
    case $tip in
    *[!0-9a-f]*) return 0 ;;
    esac
    # git refuses some names.
    git read-tree "$tip" 2>/dev/null || { git read-tree "$tree" && return 0; }
    head=$tip
    head_tree=$(git rev-parse --verify "$tip^{tree}")
    : >>"$run/real"
    list_references >"$run/references"
    if [ -s "$run/references" ]; then
        each "$run/references" sort_reference
        remove_stray_references
        ! [ -s "$run/strays" ] || cat "$run/strays" >>"$run/left_out"
    fi
    tree=$(git write-tree)
    git for-each-ref --points-at="$tip" --format='%(refname:lstrip=2)' refs/heads >"$run/found"
    head -n 1 "$run/found" >"$run/taken"
    note taken "$run/taken"
}

# Prints `COMMITS REFERENCE` for each whose commits are not in the result. Tags that the agent fetched
# do not contain the base.
list_unmerged_references() {
    git for-each-ref --no-merged="$base" --no-merged="$head" \
        --format='%(objectname) %(refname)' >"$run/unmerged" 2>/dev/null || return 1
    head -n 1000 "$run/unmerged" | while read -r object reference; do
        case $reference in
        refs/remotes/* | refs/replace/* | refs/notes/* | refs/bisect/* | refs/prefetch/* | \
            refs/stash | refs/worktree/*) continue ;;
        refs/heads/*) ;;
        *) git merge-base --is-ancestor "$base" "$object" 2>/dev/null || continue ;;
        esac
        echo "$object $reference"
    done | head -n "$MOST_REFERENCES" | while read -r object reference; do
        count=$(git rev-list --count "$object" --not "$base" "$head" 2>/dev/null) || count=0
        [ "$count" -eq 0 ] || echo "$count $reference"
    done
}

# Prints `BRANCH-OR-COMMIT NAME` for each linked worktree; the name is the folder when it is inside of
# the repository.
list_worktrees() {
    for metadata in .git/worktrees/*/; do
        [ -d "$metadata" ] || continue
        name=${metadata%/}
        name=${name##*/}
        folder=
        [ ! -e "$run/worktrees" ] ||
            folder=$(awk -F '\t' -v name="$name" '$2 == name { print $1; exit }' "$run/worktrees")
        place=
        ! is_plain_file "$metadata/gitdir" || read -r place <"$metadata/gitdir" || true
        [ "$folder" ] || [ -e "$place" ] || continue
        at=
        ! is_plain_file "$metadata/HEAD" || read -r at <"$metadata/HEAD" || true
        at=${at#ref: refs/heads/}
        case $at in
        '' | *[!!-~]*) at='?' ;;
        esac
        echo "$at ${folder:-$name}"
    done
    [ -e "$run/worktrees" ] || return 0
    while IFS='	' read -r folder name; do
        [ -d ".git/worktrees/$name" ] || echo "? $folder"
    done <"$run/worktrees"
}

list_stashes() {
    git rev-parse --verify --quiet refs/stash >/dev/null 2>&1 || return 0
    if is_plain_file .git/logs/refs/stash; then
        cut -d ' ' -f 2 .git/logs/refs/stash
    else
        echo stash
    fi
}

# Prints the commits that a checkout or a reset left and that no reference contains, unless a commit
# of the result has the same files.
list_unnamed_commits() {
    for log in .git/logs/HEAD .git/worktrees/*/logs/HEAD; do
        ! is_plain_file "$log" ||
            sed -n 's/^\([0-9a-f]*\) .*	\(checkout\|reset\): .*/\1/p' "$log"
    done | tail -n 200 | sort -u >"$run/tips"
    for metadata in .git/worktrees/*/HEAD; do
        ! is_plain_file "$metadata" || sed -n '1s/^\([0-9a-f]\{40,\}\)$/\1/p' "$metadata"
    done >>"$run/tips"
    { echo "$tree" && git log --format=%T "$base..$head" && echo "$base_tree"; } >"$run/trees" \
        2>/dev/null || true
    head -n 200 "$run/tips" | while read -r tip; do
        made=$(git rev-parse --verify --quiet "$tip^{tree}" 2>/dev/null) || continue
        ! grep -qxF "$made" "$run/trees" || continue
        count=$(git rev-list --count "$tip" --not "$base" "$head" --branches --tags \
            --remotes 2>/dev/null) || continue
        [ "$count" -eq 0 ] || echo "$tip"
    done | head -n "$MOST_REFERENCES"
}
