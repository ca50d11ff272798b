# shellcheck shell=sh
# Sorts the folders with a repository of their own, and the references of the index to commits of
# others.
#
# Sourced by capture.sh. A folder is one of these:
# - a linked worktree of this very repository, which is not part of the result: git ignores it from
#   now on, and $run/worktrees lists it with the name of its metadata in .git/worktrees;
# - a submodule, in the base or by its path in .gitmodules: $run/real lists it. What is not in the
#   commit that it refers to gets lost, so $run/changed_submodules lists it when that is something;
# - or a repository that the agent made. git would record it as a reference to a commit that exists
#   nowhere else; its files are added instead.
# shellcheck disable=SC2154 # set by capture.sh and unusual.sh

sort_references() {
    list_references >"$run/references"
    [ ! -s "$run/nested" ] || to_list <"$run/nested" >>"$run/references"
    [ -s "$run/references" ] || return 0
    sort -u -o "$run/references" "$run/references"
    : >"$run/changed_submodules"
    each "$run/references" sort_reference
    note submodules "$run/changed_submodules"
    [ -s "$run/real" ] || return 0
    # git would run `git status` with the configuration of the submodule, which the agent can write.
    {
        printf ':(top)\0'
        sed 's/^/:(top,exclude,literal)/' "$run/real" | to_names
    } >"$run/pathspecs"
}

list_references() {
    git ls-files --stage -z >"$run/staged"
    to_list <"$run/staged" | sed -n 's/^160000 [^	]*	//p'
}

sort_reference() {
    if is_behind_link; then
        git update-index --force-remove -- "$name"
    elif is_linked_worktree; then
        leave_out_worktree
    elif is_submodule; then
        keep_submodule
    else
        git update-index --force-remove -- "$name"
        # What cannot be removed is found, and left out with a note, when everything is staged.
        rm -rf -- "$name/.git" 2>/dev/null || true
    fi
}

# A name from the index may lead through a link, out of the repository.
is_behind_link() {
    rest=$name/ path=
    while [ "$rest" ]; do
        path=$path${rest%%/*}
        [ ! -L "$path" ] || return 0
        path=$path/ rest=${rest#*/}
    done
    return 1
}

is_linked_worktree() {
    [ -f "$name/.git" ] && [ ! -L "$name/.git" ] || return 1
    read -r key metadata <"$name/.git" || true
    [ "$key" = gitdir: ] || return 1
    case $metadata in
    /*/worktrees/?*) ;;
    */worktrees/?*) metadata=$name/$metadata ;;
    *) return 1 ;;
    esac
    [ "${metadata%/worktrees/*}" -ef .git ]
}

is_submodule() {
    entry=$(git ls-tree "$base" -- "$name") || fail "the base could not be read"
    case $entry in
    "160000 "*) return 0 ;;
    esac
    [ -f .gitmodules ] && [ ! -L .gitmodules ] && git config --file .gitmodules --fixed-value \
        --get-regexp "^submodule[.].*[.]path\$" "$name" >/dev/null 2>&1
}

# One name on a line, as in the lists of unusual.sh.
append() {
    printf '%s\0' "$name" | tr '\n\0' '\001\n' >>"$run/$1"
}

leave_out_worktree() {
    printf '%s\t%s\n' "$(printf '%s' "$name" | tr '\n\t' '??')" "${metadata##*/}" \
        >>"$run/worktrees"
    printf '%s\n' "$name" | sed 's/[][*?\\]/\\&/g; s/ $/?/; 1s/^/\//' | tr '\n\r' '??' |
        sed 's/?$/\//' >>"$run/info/exclude"
    echo >>"$run/info/exclude"
    git update-index --force-remove -- "$name"
}

# Refers to the commit that is checked out in the submodule.
keep_submodule() {
    append real
    if [ ! -e "$name/.git" ]; then
        [ ! -d "$name" ] || [ -z "$(ls -A -- "$name")" ] || append changed_submodules
        return 0
    fi
    commit=$(git --git-dir="$name/.git" rev-parse --verify --quiet 'HEAD^{commit}' 2>/dev/null) ||
        { append changed_submodules && return 0; }
    git update-index --add --replace --cacheinfo "160000,$commit,$name"
    ! differs_from_commit || append changed_submodules
}

# True when the commit was made in the sandbox, or files differ from it. With an index of our own:
# the configuration of the submodule names programs.
differs_from_commit() (
    [ -n "$(git --git-dir="$name/.git" for-each-ref --count=1 --contains="$commit" \
        refs/remotes refs/tags 2>/dev/null)" ] || return 0
    objects=$(git --git-dir="$name/.git" rev-parse --git-path objects)
    case $objects in
    /*) ;;
    *) objects=$PWD/$objects ;;
    esac
    case $objects in
    *:*) return 0 ;;
    esac
    export GIT_ALTERNATE_OBJECT_DIRECTORIES="$objects" GIT_INDEX_FILE="$run/submodule"
    export GIT_WORK_TREE="$PWD/$name"
    cd -- "$name" || return 0
    git read-tree "$commit" || return 0
    [ -n "$(git ls-files --modified --others --exclude-standard)" ]
)

# Only a submodule is a reference to another repository. Files that git would leave out for another
# one must not be lost without a word.
remove_stray_references() {
    list_references >"$run/references"
    without "$run/real" <"$run/references" >"$run/strays"
    [ -s "$run/strays" ] || return 0
    to_names <"$run/strays" | git update-index -z --force-remove --stdin
    list_references >"$run/references"
    without "$run/real" <"$run/references" >"$run/still"
    [ ! -s "$run/still" ] || fail "a repository inside of the repository could not be removed"
}
