# shellcheck shell=sh
# Stages every file of the work tree, whatever the agent did to the repository.
#
# Sourced by capture.sh in the repository. Reads $base, $work, $run and $max_new_file_bytes. Writes
# the names that could not be added to $run/left_out, and what else is not part of the result to
# $run/notes; see bundle.sh.
# shellcheck disable=SC2154 # set by capture.sh

# Most work trees need nothing but `git add`. The rest is in unusual.sh.
stage_everything() {
    scan . &
    scanning=$!
    read_head
    copy_index
    looking=
    if has_many_files; then
        list_changed_files >"$run/newer" &
        looking=$!
    fi
    listing=
    # An index from right after the clone has no entries that the agent set.
    if ! [ "$run/index" -ot "$work/git_config" ] || [ -e .gitmodules ] || [ -L .gitmodules ]; then
        list_unusual_entries &
        listing=$!
    fi
    scan_status=0
    wait "$scanning" || scan_status=$?
    [ -z "$listing" ] || wait "$listing" || fail "the list of staged files could not be read"
    knows_changed_files=
    [ -z "$looking" ] || ! wait "$looking" || knows_changed_files=yes
    if is_unusual || ! add_ordinary_files; then
        stage_unusual_files
    fi
}

# scan FOLDER...: finds what is not simply added: repositories inside of this one, folders that
# programs generate, and large files. Runs in a process of its own, while others run. Writes lists in
# which a NUL character ends each name.
scan() {
    set -- "$@" -mindepth 1 -path ./.git -prune -o '(' -name .git
    if is_plain_file "$work/generated_folders"; then
        while IFS= read -r name; do
            set -- "$@" -o -type d -name "$name"
        done <"$work/generated_folders"
    fi
    # shellcheck disable=SC2016 # expanded by the inner shell
    set -- "$@" ')' -prune -exec sh -c '
        run=$1
        shift
        for path; do
            path=${path#./}
            case $path in
            */.git) printf "%s\0" "${path%/.git}" >>"$run/nested" ;;
            *) printf "%s\0" "$path" >>"$run/folders" ;;
            esac
        done' found "$run" {} +
    set -- "$@" -o -type f -size "+$((max_content_bytes / 100))c"
    # Only files that were changed since the clone.
    ! is_plain_file "$work/git_config" || set -- "$@" -cnewer "$work/git_config"
    # shellcheck disable=SC2016
    append='list=$1; shift; for path; do printf "%s\0" "${path#./}" >>"$list"; done'
    exec find "$@" '(' -size "+${max_new_file_bytes}c" -exec sh -c "$append" found "$run/large" {} + \
        -o -exec sh -c "$append" found "$run/heavy" {} + ')' 2>/dev/null
}

# A copy, so that no lock and no link of the agent is in the way; with its time, because git compares
# it with the times of the files.
copy_index() {
    is_plain_file .git/index || return 0
    set -- .git/index
    for shared in .git/sharedindex.*; do
        ! is_plain_file "$shared" || set -- "$@" "$shared"
    done
    cp -p -- "$@" "$run/"
}

# References to other commits, and files that the agent told git to ignore in the index.
list_unusual_entries() {
    { git ls-files -v --stage 2>/dev/null || echo '. 160000 unreadable'; } |
        { grep -E '^([a-zS]|. 160000)' || [ $? -eq 1 ]; } >"$run/unusual"
}

is_unusual() {
    [ "$scan_status" -ne 0 ] || [ -s "$run/nested" ] || [ -s "$run/folders" ] ||
        [ -s "$run/large" ] || has_too_much || [ -s "$run/unusual" ] || [ -L .gitmodules ] || uses_large_files
}

# Adding them would take long, and would be in vain.
has_too_much() {
    [ -s "$run/heavy" ] || return 1
    sum=$(xargs -0 wc -c <"$run/heavy" 2>/dev/null | awk '{
            size = $1; sub(/^ *[0-9]+ /, "")
            if ($0 != "total") sum += size
        }
        END { printf "%d", sum / 1000 }')
    [ "$sum" -gt $((max_content_bytes * 10 / 1000)) ]
}

# `git lfs pull` replaces pointers by the files that they stand for.
uses_large_files() {
    [ ! -d .git/lfs ] && [ ! -e "$bundle.lfs" ] || return 0
    is_plain_file .gitattributes || return 1
    while read -r line; do
        case $line in
        *filter=lfs*) return 0 ;;
        esac
    done <.gitattributes
    return 1
}

add_ordinary_files() {
    [ -z "$knows_changed_files" ] || trust_untouched_files
    [ -e "$run/index" ] || restore_index || fail "the files of the base could not be read"
    add_all && [ ! -s "$run/add_errors" ]
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
#
# Runs beside the scan; returns 1 when no time can be trusted.
list_changed_files() {
    [ "$run/index" -ot "$work/git_config" ] || return 1
    [ -z "$(find "$work/git_config" -mmin +1)" ] || return 1
    exec find . -path ./.git -prune -o -cnewer "$run/index" ! -type d -print0 2>/dev/null
}

# When a file cannot be touched, the index keeps its time, and git reads all files.
trust_untouched_files() {
    if [ ! -s "$run/newer" ] || xargs -0 touch -h -t 198001010000 -- <"$run/newer" 2>/dev/null; then
        touch -t 203801010000 "$run/index"
    fi
}

# Every file was read just now, so git need not compare it with the index again.
trust_staged_files() {
    ! has_many_files || touch -t 203801010000 "$run/index"
}

# The index also lists the tracked files that match .gitignore.
restore_index() {
    rm -f -- "$run/index" "$run/index.lock"
    git read-tree "$head" 2>/dev/null || git read-tree "$base"
}

# add_all [GIT_OPTION]...: returns 1 when nothing failed but single files. Names that HFS+ takes for
# .git are refused, as those for NTFS are: GitHub accepts neither.
add_all() {
    set -- -c core.protectHFS=true "$@" add --all --ignore-errors --no-warn-embedded-repo
    if [ -e "$run/pathspecs" ]; then
        set -- "$@" --pathspec-from-file="$run/pathspecs" --pathspec-file-nul
        GIT_LITERAL_PATHSPECS=0 git "$@" 2>"$run/add_errors"
    else
        git "$@" 2>"$run/add_errors"
    fi
}
