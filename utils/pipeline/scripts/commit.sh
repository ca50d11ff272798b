# shellcheck shell=sh
# Makes the commit that holds the staged tree.
#
# Sourced by capture.sh in the repository. Reads $base, $work, $result, $mode and $tree; sets $head,
# $head_tree, $parent and $commit.
# shellcheck disable=SC2034,SC2154 # used and set by capture.sh

# Most agents do not commit, and the files of git show this without a process.
read_head() {
    reference=${head#ref: }
    if [ "$reference" != "$head" ] && [ -f ".git/$reference" ]; then
        read -r head <".git/$reference" || true
    fi
    head_tree=
    [ "$head" != "$base" ] || return 0
    git rev-parse HEAD "HEAD^{tree}" >"$result/head" 2>/dev/null || true
    { read -r head && read -r head_tree; } <"$result/head" || head=$base head_tree=
}

make_commit() {
    parent=$head
    if [ "$head" != "$base" ] && { [ "$mode" = squash ] || ! history_fits_a_mailbox; }; then
        parent=$base
    fi
    if [ "$parent" = "$head" ] && [ "$tree" = "$head_tree" ]; then
        commit=$head
    elif ! find_earlier_commit; then
        commit=$(git commit-tree "$tree" -p "$parent" -F "$work/commit_message")
        echo "$parent $tree $commit" >>"$result/made"
    fi
}

# `git am` cannot apply merges, a history that does not start at the base, messages that look like a
# patch or begin with headers, commits without a subject or an author's name, and a .gitmodules that
# is a link.
history_fits_a_mailbox() {
    [ ! -L .gitmodules ] || return 1
    git merge-base --is-ancestor "$base" "$head" || return 1
    [ -z "$(git rev-list --min-parents=2 --max-count=1 "$base..$head")" ] || return 1
    ! git log --format=%B "$base..$head" |
        grep -Eiq '^(diff -|Index: |>*From |---|(From|Date|Subject):)' || return 1
    ! git log --format='%s%nauthor:%an' "$base..$head" |
        grep -Eq '^ *$|^author:[[:punct:][:space:]]*$'
}

# A commit contains its time, so the commit of an earlier run is used again.
find_earlier_commit() {
    [ -e "$result/made" ] || return 1
    while read -r made_on made_of commit; do
        [ "$made_on $made_of" != "$parent $tree" ] || return 0
    done <"$result/made"
    return 1
}
