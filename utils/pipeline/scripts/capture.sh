#!/bin/sh
# Turns everything an agent left in a repository into a commit, a diff and a patch.
#
#   capture.sh REPOSITORY BASE_COMMIT WORK MAX_FILES MAX_FILE_BYTES MAX_CONTENT_BYTES MODE
#
# WORK holds `commit_message` and `git_config`, the copy of .git/config from right after the clone;
# its existing folder `result` receives one file, `bundle`, as each file read from a cloud sandbox
# is a round trip. It holds sections with nothing between them, then an empty line, a line
# `COMMIT TREE` with the result, and a line `SIZE NAME` for each section:
#   mail      `git format-patch --raw --numstat` when one commit of ours holds everything: its
#             message, an empty line, the changes, an empty line, the diff
#   changes   `git diff --raw --numstat`, renames shown as a deletion and an addition; left out when
#             the mail shows the same
#   contents  `git cat-file --batch` of changed files, before and after, at most MAX_FILES; above
#             MAX_CONTENT_BYTES together only files of at most MAX_FILE_BYTES, and as many as fit
#   patch     `git format-patch --binary --stdout`, for `git am`; left out when there is a mail
#   diff      `git diff --binary --full-index`; left out when there is a mail
#   dropped   the beginning of what would have been too large
#   left_out  where something could not be added: how many files and folders, then the first names
# A patch or a diff well above MAX_CONTENT_BYTES is dropped; the reader knows the exact limit.
#
# MODE is `history` (keep the agent's own commits), `binary` (the same, with `attributes.diff` and
# `attributes.patch` in WORK as gitattributes for the one and the other) or `squash` (as `binary`,
# but one commit on the base).
#
# The script may be ended at any moment and run again: it then gives the same result.
set -eu

repository=$1 base=$2 work=$3 max_files=$4 max_file_bytes=$5 max_content_bytes=$6 mode=$7
result=$work/result
[ -d "$result" ] || mkdir -- "$result"

cd -- "$repository"

# What is left of an interrupted run may still be open in a process of it.
[ ! -e "$result/bundle" ] || rm -f -- "$result/bundle" "$result/changes" "$result/objects"

# Without this git would go on to look for a repository in the folders above.
export GIT_DIR="$repository/.git" GIT_WORK_TREE="$repository"
# A file may be called `*` or `:(top)`.
export GIT_LITERAL_PATHSPECS=1

# The agent owned .git: what it configured (filters, external diffs, attributes, a stale lock of a
# killed process) must not shape the result.
[ -d .git ] || { echo "the folder .git is gone" >&2 && exit 1; }
while IFS= read -r line; do
    printf '%s\n' "$line"
done <"$work/git_config" >.git/config
for leftover in index.lock commondir info/attributes info/exclude info/grafts info/sparse-checkout; do
    [ ! -e ".git/$leftover" ] || rm -rf -- ".git/$leftover"
done
head=
read -r head 2>/dev/null <.git/HEAD || true
case $head in
"ref: refs/"* | *[0-9a-f][0-9a-f][0-9a-f][0-9a-f]) ;;
*) echo "$base" >.git/HEAD ;;
esac

# A repository that the agent made inside this one would be recorded as a bare reference to a
# commit nobody has. Its files are what matters; real submodules are left alone.
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

# The index also knows the files that are tracked although .gitignore names them.
restore_index() {
    rm -f .git/index
    git read-tree HEAD 2>/dev/null || git read-tree "$base"
}

# git compares seconds. It reads every file again that is as old as the index, which after a quick
# clone is all of them: with more than a few files that takes longer than all the rest.
has_many_files() {
    set -- * */*
    [ $# -gt 100 ]
}

# The inode's change time, which nobody can set, tells what was changed since the clone to less than
# a second. Those files get a time at which git looks into them, and all others are trusted. Every
# change is later than the index when git_config is, which was there before the agent. Long after
# the clone there may be far more new files than old ones, and the seconds differ anyway.
trust_untouched_files() {
    [ .git/index -ot "$work/git_config" ] || return 0
    [ -z "$(find "$work/git_config" -mmin +1)" ] || return 0
    if find . -path ./.git -prune -o -cnewer .git/index ! -type d \
        -exec touch -h -t 198001010000 {} + 2>/dev/null; then
        touch -t 203801010000 .git/index
    fi
}

stage_everything() {
    : >"$result/unusual"
    # As the clone left it, the index says nothing that an agent told it.
    if ! [ .git/index -ot "$work/git_config" ]; then
        git ls-files -v --stage 2>/dev/null | grep -E '^([a-zS]|. 160000)' >"$result/unusual" &
    fi
    ! has_many_files || trust_untouched_files
    [ -e .git/index ] || restore_index
    if ! add_all || [ -s "$result/add_errors" ] || [ -L .gitmodules ]; then
        git ls-files --error-unmatch . >/dev/null 2>&1 || restore_index
        chmod -R u+rX . 2>/dev/null || true
        flatten_nested_repositories
        add_what_git_takes
    fi
    wait
    [ ! -s "$result/unusual" ] || stage_unusual_entries
    : >"$result/left_out"
    if [ -s "$result/add_errors" ] || [ -L .gitmodules ]; then
        list_left_out
    fi
}

# add_all [OPTION OF GIT]...: ends with 1 when it was only files that could not be added. Names that
# HFS+ takes for .git are refused as those are that NTFS does: GitHub receives neither.
add_all() {
    git -c core.protectHFS=true "$@" add --all --ignore-errors 2>"$result/add_errors"
}

add_what_git_takes() {
    add_all "$@" || [ $? -eq 1 ] || add_bytes_as_they_are "$@"
}

# For attributes that do not fit the files, such as an encoding they are not in.
add_bytes_as_they_are() {
    mkdir -p .git/info
    echo '* -text -working-tree-encoding -filter -ident' >.git/info/attributes
    add_all "$@" || [ $? -eq 1 ] || { cat "$result/add_errors" >&2 && exit 1; }
    rm .git/info/attributes
}

# What was not added stays as it was. The names are listed as git quotes them: some only look like
# .git because nobody sees all of their characters.
list_left_out() {
    ! grep ': failed to insert into database$' "$result/add_errors" >&2 || exit 1
    # Repositories that could not be removed.
    flatten_nested_repositories
    # The one name that git takes for a link where it was there as a file.
    if [ -L .gitmodules ]; then
        git update-index --force-remove .gitmodules
        git ls-tree "$base" .gitmodules | git update-index --index-info
    fi
    {
        git ls-files --others --modified --exclude-standard --directory --no-empty-directory
        sed -n "s/': [^']*\$//; s/^warning: could not open directory '//p" "$result/add_errors"
    } 2>/dev/null | sort -u >"$result/left_out"
}

# References to other commits, and files that the agent told git not to look at. Files that a
# sparse checkout left out stay as they are in the base.
stage_unusual_entries() {
    flatten_nested_repositories
    git ls-files -z | git update-index -z --no-assume-unchanged --stdin
    # What git took for unchanged when it wrote the index in a later second would stay so.
    touch -t 198001010000 .git/index
    add_what_git_takes -c core.sparseCheckout=true
}

# What `git am` cannot carry: merges, a history that does not start at the base, messages that
# look like a patch or begin with headers, commits without a subject or without an author's name,
# and a link that no one else's git takes.
history_fits_a_mailbox() {
    [ ! -L .gitmodules ] || return 1
    git merge-base --is-ancestor "$base" "$head" || return 1
    [ -z "$(git rev-list --min-parents=2 --max-count=1 "$base..$head")" ] || return 1
    ! git log --format=%B "$base..$head" |
        grep -Eiq '^(diff -|Index: |>*From |---|(From|Date|Subject):)' || return 1
    ! git log --format='%s%nauthor:%an' "$base..$head" |
        grep -Eq '^ *$|^author:[[:punct:][:space:]]*$'
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

# A commit has the time in it, so an earlier run's is taken again.
find_earlier_commit() {
    [ -e "$result/made" ] || return 1
    while read -r made_on made_of commit; do
        [ "$made_on $made_of" != "$parent $tree" ] || return 0
    done <"$result/made"
    return 1
}

# Most agents commit nothing, which the files tell without a process.
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

options='--binary --full-index --no-ext-diff --no-textconv --no-color --find-renames'
changes_options='--raw --numstat --no-abbrev'

# Offsets in the bundle, where there is no /proc with a process.
find_position() {
    label=
    { read -r label position </proc/self/fdinfo/5; } 2>/dev/null || true
    [ "$label" = pos: ] || position=$(wc -c <"$result/bundle")
}

end_section() {
    sections="$sections$((position - start)) $1
"
    start=$position
}

# write_section NAME MAX_BYTES COMMAND...: a command that writes (about) more is ended by the kernel.
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

# The changes take less than three times the bytes of their diff.
write_mail() {
    # shellcheck disable=SC2086 # fixed lists of options
    write_section mail $((4 * max_content_bytes + 65536)) \
        git format-patch --quiet --stdout --no-stat --no-signature $options $changes_options \
        "$base..$commit"
}

write_patch() {
    # shellcheck disable=SC2086
    write_section patch "$max_content_bytes" \
        git format-patch --quiet --stdout --no-stat --no-signature $options "$base..$commit" || true
}

write_diff() {
    # shellcheck disable=SC2086
    write_section diff "$max_content_bytes" git diff $options "$base" "$tree" || true
}

write_changes() {
    # shellcheck disable=SC2086
    git diff $changes_options --no-renames --no-ext-diff "$base" "$tree" >"$result/changes"
    cat "$result/changes" >&5
    find_position
    end_section changes
    list_objects <"$result/changes" >"$result/objects" || true
}

skip_mail_head() {
    while read -r line && [ "$line" ]; do :; done
}

# Prints the objects of the first files; returns 1 when there are more, or renames among them.
# Loops instead of awk: for the few files of most tasks a process costs more.
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
        [ "$new_mode" = 160000 ] || echo "$new"
    done
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

# The sizes are asked for only when all together are too much.
write_contents() {
    [ -s "$result/objects" ] || return 0
    ! write_section contents "$max_content_bytes" git cat-file --batch <"$result/objects" ||
        return 0
    git cat-file --batch-check <"$result/objects" | choose_small_files | git cat-file --batch >&5
    find_position
    end_section contents
}

write_left_out() {
    [ -s "$result/left_out" ] || return 0
    { wc -l <"$result/left_out" && head -n 3 "$result/left_out"; } >&5
    find_position
    end_section left_out
}

begin_bundle() {
    exec 5>"$result/bundle"
    sections='' start=0
}

# Nobody's `git apply` sees that a link makes room for a folder when the patch only renames it.
leave_out_renames_of_links() {
    git log --raw --find-renames --format= "$base..$commit" | grep -q '^:120000 .* R[0-9]' ||
        return 1
    options="${options%--find-renames}--no-renames"
}

write_mail_and_objects() {
    write_mail && { skip_mail_head && list_objects; } <"$result/bundle" >"$result/objects"
}

begin_bundle
read_head
stage_everything
# Everything was just read, so nothing needs to be doubted.
! has_many_files || touch -t 203801010000 .git/index
tree=$(git write-tree)
make_commit
if [ "$mode" = history ] && [ "$head" = "$base" ]; then
    write_mail_and_objects ||
        { leave_out_renames_of_links && begin_bundle && write_mail_and_objects; } || write_changes
    write_contents
elif [ "$mode" = history ]; then
    leave_out_renames_of_links || true
    write_changes
    write_contents
    write_patch
    write_diff
else
    leave_out_renames_of_links || true
    mkdir -p .git/info
    cp -- "$work/attributes.patch" .git/info/attributes
    write_patch
    cp -- "$work/attributes.diff" .git/info/attributes
    write_diff
    write_changes
    write_contents
fi
[ "$start" -gt 0 ] || [ "$parent" != "$base" ] || commit=$base
write_left_out
printf '\n\n%s %s\n%s' "$commit" "$tree" "$sections" >&5
