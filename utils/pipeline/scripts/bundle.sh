# shellcheck shell=sh
# Writes the changes between the base and the commit to one file, $bundle.
#
# Sourced by capture.sh in the repository. Reads $base, $commit, $parent, $tree, $work, $run, $bundle,
# $mode and the limits; sets $start, which is 0 while the bundle is empty.
#
# The bundle holds sections without separators, then an empty line, a line `COMMIT TREE` with the
# result, and a line `SIZE NAME` for each section:
#   mail      `git format-patch --raw --numstat` when a single commit of capture.sh holds all
#             changes: its message, an empty line, the changes, an empty line, the diff
#   changes   `git diff --raw --numstat`, with a rename as a deletion and an addition; omitted when
#             the mail shows the same
#   contents  `git cat-file --batch` of at most $max_files changed files, before and after; when
#             they are larger than $max_content_bytes together, only files of at most
#             $max_file_bytes, and as many as fit
#   patch     `git format-patch --binary --stdout`, for `git am`; omitted when there is a mail
#   diff      `git diff --binary --full-index`; omitted when there is a mail
#   dropped   the beginning of a section that was too large
#   left_out  when something could not be added: the number of files and folders, then the first
#             names
#   notes     a line for each kind of other things that are not part of the result (at most 20): the
#             kind, how many there are and the first three names, separated by tabs. The kinds:
#             folders (generated ones), large (files above $max_new_file_bytes), too_much (files
#             that would make the diff larger than $max_content_bytes), submodules (with changes in
#             them), lfs (changed files of Git LFS), taken (the branch whose commits are the result),
#             worktrees (`BRANCH-OR-COMMIT FOLDER`), branches and references (`COMMITS NAME`),
#             stashes, commits and unreadable (references)
# A patch or a diff well above $max_content_bytes is dropped; the reader applies the exact limit.
# shellcheck disable=SC2154 # set by capture.sh

options='--binary --full-index --no-ext-diff --no-textconv --no-color --find-renames'
changes_options='--raw --numstat --no-abbrev'

# No name in the folder of the result is followed when it is a link: a file is created there.
create_bundle() {
    sections='' start=0 total=0
    [ ! -e "$bundle" ] && [ ! -L "$bundle" ] || rm -f -- "$bundle"
    set -C
    exec 5>"$bundle"
    set +C
}

begin_bundle() {
    sections='' start=0 total=0
    exec 5>"$bundle"
}

end_bundle() {
    printf '\n\n%s %s\n%s' "$commit" "$tree" "$sections" >&5
}

# A commit on the base is written once; a history has a patch that differs from its diff.
write_changes() {
    if [ "$mode" = history ] && [ "$parent" = "$base" ]; then
        write_mail_and_objects ||
            { omit_renames_of_links && begin_bundle && write_mail_and_objects; } || list_changes
        write_contents
    elif [ "$mode" = history ]; then
        omit_renames_of_links || true
        list_changes
        write_contents
        write_patch
        write_diff
    else
        omit_renames_of_links || true
        cp -- "$bundle.patch" "$run/info/attributes"
        write_patch
        cp -- "$bundle.diff" "$run/info/attributes"
        write_diff
        list_changes
        write_contents
    fi
}

# What is too much costs only itself: the largest changes are left out until the rest fits.
leave_out_what_is_too_much() {
    [ "$total" -gt "$max_content_bytes" ] || return 0
    choose_largest
    [ -s "$run/entries" ] || return 0
    leave_out_largest
    begin_bundle
    make_commit
    write_changes
}

# `git apply` refuses a patch in which a link is renamed and a folder takes its place.
omit_renames_of_links() {
    git log --raw --find-renames --format= "$base..$commit" >"$run/raw" || exit 1
    grep -q '^:120000 .* R[0-9]' "$run/raw" || return 1
    options="${options%--find-renames}--no-renames"
}

# write_section NAME MAX_BYTES COMMAND...: the kernel ends a command that writes (about) more.
write_section() {
    name=$1 blocks=$(((start + $2) / 512 + 1)) status=0
    shift 2
    (ulimit -f "$blocks" 2>/dev/null; exec "$@" >&5) || status=$?
    find_position
    if [ "$status" -eq 0 ]; then
        end_section "$name"
    elif [ "$position" -ge $((blocks * 512)) ]; then
        end_section dropped
        return 1
    else
        exit "$status"
    fi
}

end_section() {
    sections="$sections$((position - start)) $1
"
    section_bytes=$((position - start))
    start=$position
}

# Sets the offset in the bundle; from its size where /proc does not show the offset.
find_position() {
    label=
    { read -r label position </proc/self/fdinfo/5; } 2>/dev/null || true
    [ "$label" = pos: ] || position=$(wc -c <"$bundle")
}

# The list of changes takes less than three times the bytes of the diff.
write_mail() {
    mail_status=0
    # shellcheck disable=SC2086 # fixed lists of options
    write_section mail $((4 * max_content_bytes + 65536)) \
        git format-patch --quiet --stdout --no-stat --no-signature $options $changes_options \
        "$base..$commit" || mail_status=1
    total=$section_bytes
    return "$mail_status"
}

write_mail_and_objects() {
    write_mail && { skip_mail_head && list_objects; } <"$bundle" >"$run/changed"
}

skip_mail_head() {
    while read -r line && [ "$line" ]; do :; done
}

write_patch() {
    # shellcheck disable=SC2086
    write_section patch "$max_content_bytes" \
        git format-patch --quiet --stdout --no-stat --no-signature $options "$base..$commit" || true
    patch_bytes=$section_bytes
}

write_diff() {
    # shellcheck disable=SC2086
    write_section diff "$max_content_bytes" git diff $options "$base" "$tree" || true
    total=$section_bytes
    # The patch of several commits may be larger; it can become one of a single commit.
    [ "$parent" != "$base" ] || [ "$patch_bytes" -le "$total" ] || total=$patch_bytes
}

list_changes() {
    # shellcheck disable=SC2086
    git diff $changes_options --no-renames --no-ext-diff "$base" "$tree" >"$run/listing"
    cat "$run/listing" >&5
    find_position
    end_section changes
    # It stops at the limit.
    list_objects <"$run/listing" >"$run/changed" || true
}

# Prints the objects of the first files; returns 1 when there are more files, or renames.
# A loop instead of awk: for the few files of most tasks a process takes longer.
list_objects() {
    number=0
    while read -r old_mode new_mode old new change; do
        case $old_mode:$change in
        :[0-7]*:[RC]*) return 1 ;;
        :[0-7]*) ;;
        *)
            [ "$number" -eq 0 ] || return 0
            continue
            ;;
        esac
        [ "$number" -lt "$max_files" ] || return 1
        number=$((number + 1))
        [ "$old_mode" = :160000 ] || echo "$old"
        if [ "$new_mode" != 160000 ]; then
            echo "$new"
        elif [ "$old_mode" != :160000 ] && [ ! -s "$run/real" ]; then
            fail "a repository inside of the repository would take the place of its files"
        fi
    done
}

# The sizes are read only when all contents together are too large.
write_contents() {
    [ -s "$run/changed" ] || return 0
    ! write_section contents "$max_content_bytes" git cat-file --batch <"$run/changed" || return 0
    git cat-file --batch-check <"$run/changed" >"$run/sizes"
    choose_small_files <"$run/sizes" >"$run/small"
    git cat-file --batch <"$run/small" >&5
    find_position
    end_section contents
}

choose_small_files() {
    sum=0
    while read -r object kind size; do
        if [ "$kind" = blob ] && [ "$size" -le "$max_file_bytes" ]; then
            sum=$((sum + size))
            [ "$sum" -gt "$max_content_bytes" ] || echo "$object"
        fi
    done
}

write_left_out() {
    [ -s "$run/left_out" ] || return 0
    { wc -l <"$run/left_out" && head -n 3 "$run/left_out"; } >&5
    find_position
    end_section left_out
}

write_notes() {
    [ -s "$run/notes" ] || return 0
    cat -- "$run/notes" >&5
    find_position
    end_section notes
}
