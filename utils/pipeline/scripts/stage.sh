# shellcheck shell=sh
# Stages every file of the work tree, whatever the agent did to the repository.
#
# Sourced by capture.sh in the repository. Reads $base, $work and $result; sets $head to the content
# of .git/HEAD. Writes the names that could not be added to $result/left_out.
# shellcheck disable=SC2154 # set by capture.sh

# The agent could write to .git. Its configuration (filters, external diffs, attributes) and the
# lock of a killed process must not influence the result.
restore_git_folder() {
    [ -d .git ] || { echo "the folder .git is gone" >&2 && exit 1; }
    [ -e "$work/git_config" ] || write_git_config
    while IFS= read -r line; do
        printf '%s\n' "$line"
    done <"$work/git_config" >.git/config
    for leftover in index.lock commondir \
        info/attributes info/exclude info/grafts info/sparse-checkout; do
        [ ! -e ".git/$leftover" ] || rm -rf -- ".git/$leftover"
    done
    head=
    read -r head 2>/dev/null <.git/HEAD || true
    case $head in
    "ref: refs/"* | *[0-9a-f][0-9a-f][0-9a-f][0-9a-f]) ;;
    *) echo "$base" >.git/HEAD ;;
    esac
}

# The agent has removed the copy. Names of more than 40 characters are those of SHA-256. No index may
# count as older than the agent's changes.
write_git_config() {
    {
        printf '[core]\n\trepositoryformatversion = %s\n\tbare = false\n' "$((${#base} > 40))"
        [ "${#base}" -eq 40 ] || printf '[extensions]\n\tobjectformat = sha256\n'
    } >"$work/git_config"
    touch -t 198001010000 "$work/git_config"
}

stage_everything() {
    : >"$result/unusual"
    # An index from right after the clone has no entries that the agent set.
    if ! [ .git/index -ot "$work/git_config" ]; then
        git ls-files -v --stage 2>/dev/null | grep -E '^([a-zS]|. 160000)' >"$result/unusual" &
    fi
    ! has_many_files || trust_untouched_files
    [ -e .git/index ] || restore_index
    if ! add_all || [ -s "$result/add_errors" ] || [ -L .gitmodules ]; then
        git ls-files --error-unmatch . >/dev/null 2>&1 || restore_index
        chmod -R u+rX . 2>/dev/null || true
        flatten_nested_repositories
        add_with_fallback
    fi
    wait
    [ ! -s "$result/unusual" ] || stage_unusual_entries
    : >"$result/left_out"
    if [ -s "$result/add_errors" ] || [ -L .gitmodules ]; then
        list_left_out
    fi
}

# git compares times in seconds. It reads every file again that is as old as the index, which after
# a quick clone is all of them. With many files this takes longer than the rest of the capture.
has_many_files() {
    set -- * */*
    [ $# -gt 100 ]
}

# The change time of an inode cannot be set by a program, and it has a resolution below a second. It
# shows which files were changed since the clone: these get an old modification time, so that git
# reads them, and all others are trusted. git_config was written before the agent started, so an
# index that is older than git_config is older than every change. Long after the clone there may be
# far more new files than old ones, and the seconds differ anyway.
trust_untouched_files() {
    [ .git/index -ot "$work/git_config" ] || return 0
    [ -z "$(find "$work/git_config" -mmin +1)" ] || return 0
    if find . -path ./.git -prune -o -cnewer .git/index ! -type d \
        -exec touch -h -t 198001010000 {} + 2>/dev/null; then
        touch -t 203801010000 .git/index
    fi
}

# Every file was read just now, so git need not compare it with the index again.
trust_staged_files() {
    ! has_many_files || touch -t 203801010000 .git/index
}

# The index also lists the tracked files that match .gitignore.
restore_index() {
    rm -f .git/index
    git read-tree HEAD 2>/dev/null || git read-tree "$base"
}

# add_all [GIT_OPTION]...: returns 1 when nothing failed but single files. Names that HFS+ takes for
# .git are refused, as those for NTFS are: GitHub accepts neither.
add_all() {
    git -c core.protectHFS=true "$@" add --all --ignore-errors 2>"$result/add_errors"
}

add_with_fallback() {
    add_all "$@" || [ $? -eq 1 ] || add_without_conversion "$@"
}

# For attributes that do not fit the files, such as an encoding that a file does not have.
add_without_conversion() {
    mkdir -p .git/info
    echo '* -text -working-tree-encoding -filter -ident' >.git/info/attributes
    add_all "$@" || [ $? -eq 1 ] || { cat "$result/add_errors" >&2 && exit 1; }
    rm .git/info/attributes
}

# git would record a repository that the agent created inside this one as a reference to a commit
# that exists nowhere else. Its files are added instead; real submodules stay unchanged.
flatten_nested_repositories() {
    find . -mindepth 2 -name .git -prune -exec sh -c '
        base=$1; shift
        for git_directory; do
            directory=${git_directory%/.git}
            case $(git ls-tree "$base" -- "$directory") in
            "160000 "*) continue ;;
            esac
            if [ -f .gitmodules ] && git config --file .gitmodules --fixed-value --get-regexp \
                "^submodule[.].*[.]path\$" "${directory#./}" >/dev/null 2>&1; then
                continue
            fi
            git update-index --force-remove -- "$directory"
            rm -rf -- "$git_directory"
        done' flatten "$base" {} + || true
}

# Stages references to other commits, and files that the agent told git to ignore in the index.
# Files outside a sparse checkout stay as they are in the base.
stage_unusual_entries() {
    flatten_nested_repositories
    git ls-files -z | git update-index -z --no-assume-unchanged --stdin
    # Otherwise a file stays unchanged for git that it considered unchanged when it wrote the index
    # in a later second.
    touch -t 198001010000 .git/index
    add_with_fallback -c core.sparseCheckout=true
}

# Files that were not added stay as they are in the base. Their names are listed as git quotes them:
# some look like .git because they contain invisible characters.
list_left_out() {
    ! grep ': failed to insert into database$' "$result/add_errors" >&2 || exit 1
    # Again, for repositories that could not be removed.
    flatten_nested_repositories
    # .gitmodules is the one name that git stages as a link if it was a file before.
    if [ -L .gitmodules ]; then
        git update-index --force-remove .gitmodules
        git ls-tree "$base" .gitmodules | git update-index --index-info
    fi
    {
        git ls-files --others --modified --exclude-standard --directory --no-empty-directory
        sed -n "s/': [^']*\$//; s/^warning: could not open directory '//p" "$result/add_errors"
    } 2>/dev/null | sort -u >"$result/left_out"
}
