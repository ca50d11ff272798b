# shellcheck shell=sh
# Makes the commit that holds the staged tree.
#
# Sourced by capture.sh in the repository. Reads $base, $work, $run, $result, $mode, $tree, $head and
# $head_tree; sets $parent and $commit.
# shellcheck disable=SC2034,SC2154 # used and set by capture.sh

# Set when the agent's own commits hold something that the result leaves out.
squash=

# Most agents do not use git: it has written nothing since the clone.
find_work_elsewhere() {
    has_git_written || return 0
    look_elsewhere
}

has_git_written() {
    [ "$head" = "$base" ] && [ ! -e .git/worktrees ] && [ ! -e "$run/worktrees" ] || return 0
    for path in .git/logs/HEAD .git/packed-refs .git/refs \
        .git/refs/*/ .git/refs/*/*/ .git/refs/*/*/*/ .git/refs/*/*/*/*/; do
        [ ! -e "$path" ] || [ "$path" -ot "$work/git_config" ] || return 0
    done
    return 1
}

make_commit() {
    parent=$head
    if [ "$head" != "$base" ] &&
        { [ "$mode" = squash ] || [ "$squash" ] || ! history_fits_a_mailbox; }; then
        parent=$base
    fi
    if [ "$parent" = "$head" ] && [ "$tree" = "$head_tree" ]; then
        commit=$head
    elif ! find_earlier_commit; then
        message=$work/commit_message
        is_plain_file "$message" || { message=$run/message && echo Changes >"$message"; }
        commit=$(git commit-tree "$tree" -p "$parent" -F "$message")
        echo "$parent $tree $commit" >>"$result/made"
    fi
}

# `git am` cannot apply merges, a history that does not start at the base, messages that look like a
# patch or begin with headers, commits without a subject or an author's name, and a .gitmodules that
# is a link. A history that cannot be read does not fit either.
history_fits_a_mailbox() {
    [ ! -L .gitmodules ] || return 1
    git merge-base --is-ancestor "$base" "$head" || return 1
    merge=$(git rev-list --min-parents=2 --max-count=1 "$base..$head") || return 1
    [ -z "$merge" ] || return 1
    git log --format=%B "$base..$head" >"$run/messages" || return 1
    ! grep -Eiq '^(diff -|Index: |>*From |---|(From|Date|Subject):)' "$run/messages" || return 1
    git log --format='%s%nauthor:%an' "$base..$head" >"$run/messages" || return 1
    ! grep -Eq '^ *$|^author:[[:punct:][:space:]]*$' "$run/messages"
}

# A commit contains its time, so the commit of an earlier run is used again. The agent can write to
# the list.
find_earlier_commit() {
    [ -e "$result/made" ] || return 1
    while read -r made_on made_of commit; do
        [ "$made_on $made_of" = "$parent $tree" ] || continue
        case $commit in
        '' | *[!0-9a-f]*) return 1 ;;
        esac
        found=$(git rev-parse --quiet "$commit^{tree}" "$commit^1" 2>/dev/null) || return 1
        [ "$found" = "$tree
$parent" ] || return 1
        return 0
    done <"$result/made"
    return 1
}
