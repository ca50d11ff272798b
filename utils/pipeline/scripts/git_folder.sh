# shellcheck shell=sh
# Makes a git folder of our own, in which nothing is what the agent wrote.
#
# Sourced by capture.sh. Reads $repository, $base, $work and $result; sets $run, the folder of this
# run of the script, and $head, the commit that the agent's HEAD names. Changes to the repository.
#
# The agent could write to .git: its configuration (filters, external diffs), attributes, hooks and
# locks must not influence the result, a link in it must not lead a write of ours elsewhere, and a
# git process that still runs must not hold a lock that we need. So its objects and references are
# only read, and its index is copied. Each run has a folder of its own, for the same reasons.
# shellcheck disable=SC2034,SC2154 # used and set by capture.sh

make_git_folder() {
    [ ! -L "$repository" ] || fail "a link has replaced the folder of the repository"
    [ ! -L "$work" ] || fail "a link has replaced the folder of the backend"
    # What cannot be written to is repaired.
    if [ -L "$result" ] || { [ -e "$result" ] && [ ! -d "$result" ]; }; then
        rm -rf -- "$result"
    fi
    [ ! -d "$result" ] || { [ -w "$result" ] && [ -x "$result" ]; } || chmod u+rwx -- "$result"
    [ ! -e "$result/made" ] && [ ! -L "$result/made" ] || is_plain_file "$result/made" ||
        rm -rf -- "$result/made"
    [ -x "$repository" ] || chmod u+rwx -- "$repository"
    cd -- "$repository" || exit
    [ ! -L .git ] || fail "a link has replaced the folder .git"
    [ -d .git ] || fail "the folder .git is gone"
    [ ! -L .git/objects ] || fail "a link has replaced the folder .git/objects"
    make_run_folder
    list_object_folders >"$run/objects/info/alternates"
    echo "$base" >"$run/HEAD"
    copy_configuration
    copy_shallow_commits
    # What the setup has left; see after_setup.sh.
    ! is_plain_file "$work/prepared" || head -c 1000000 -- "$work/prepared" >"$run/info/exclude"
    # Otherwise git would search for a repository in the parent folders.
    export GIT_DIR="$run" GIT_WORK_TREE="$repository"
    # A file may be named `*` or `:(top)`.
    export GIT_LITERAL_PATHSPECS=1
}

# The number of the process: an interrupted run may still be ending.
make_run_folder() {
    number=0
    while [ -e "$result/$number-$$" ] || [ -L "$result/$number-$$" ]; do
        number=$((number + 1))
    done
    run=$result/$number-$$
    set -- "$run" "$run/info" "$run/objects" "$run/objects/info" "$run/refs"
    [ -d "$result" ] || set -- "$result" "$@"
    mkdir -- "$@"
}

# The objects of earlier runs need not be written again.
list_object_folders() {
    echo "$repository/.git/objects"
    for folder in "$result"/*/objects; do
        [ ! -d "$folder" ] || [ "$folder" = "$run/objects" ] || echo "$folder"
    done
}

# The agent can write to the folder of the copy, too.
copy_configuration() {
    if ! is_plain_file "$work/git_config"; then
        [ "${#base}" -eq 40 ] || printf '[core]\n\trepositoryformatversion = 1\n%s\n' \
            '[extensions]' '	objectformat = sha256' >"$run/config"
        return 0
    fi
    while read -r key value; do
        case $key in
        repositoryformatversion | filemode | symlinks | ignorecase | precomposeunicode)
            printf '[core]\n\t%s %s\n' "$key" "$value"
            ;;
        objectformat | objectFormat) printf '[extensions]\n\t%s %s\n' "$key" "$value" ;;
        esac
    done <"$work/git_config" >"$run/config"
}

# The commits whose parents were not cloned.
copy_shallow_commits() {
    is_plain_file .git/shallow || return 0
    while read -r commit; do
        case $commit in
        '' | *[!0-9a-f]*) ;;
        *) echo "$commit" ;;
        esac
    done <.git/shallow >"$run/shallow"
}

# A file that cannot block: no pipe, and no link to one.
is_plain_file() {
    [ -f "$1" ] && [ ! -L "$1" ] && [ -r "$1" ]
}

# Most agents do not commit, and the files of git show this without a process.
read_head() {
    head='' head_tree=
    ! is_plain_file .git/HEAD || read -r head <.git/HEAD || true
    reference=${head#ref: }
    case $reference in
    "$head" | *..*) ;;
    refs/*) ! is_plain_file ".git/$reference" || read -r head <".git/$reference" || true ;;
    esac
    [ "$head" != "$base" ] || return 0
    read_references
    name=${head#ref: }
    case $name in
    refs/*) ;;
    '' | *[!0-9a-f]*) name=$base ;;
    esac
    # A HEAD that names nothing: the files are captured as they are.
    git rev-parse --quiet "$name^{commit}" "$name^{tree}" >"$run/head" 2>/dev/null || true
    { read -r head && read -r head_tree; } <"$run/head" || head=$base head_tree=
    [ "$head" != "$base" ] || head_tree=
}

# Shows the agent's references in our folder. Nothing of ours writes references.
read_references() {
    [ ! -L "$run/refs" ] && [ -d .git/refs ] || return 0
    # git would wait for a pipe.
    [ -z "$(find .git/refs ! -type f ! -type d 2>/dev/null)" ] || return 0
    rmdir -- "$run/refs"
    ln -s -- "$repository/.git/refs" "$run/refs"
    [ ! -f .git/packed-refs ] || ln -s -- "$repository/.git/packed-refs" "$run/packed-refs"
}
