#!/bin/sh
# Turns everything an agent left in a repository into a commit, a diff and a patch.
#
#   capture.sh REPOSITORY BASE_COMMIT WORK MAX_FILES MAX_FILE_BYTES MAX_CONTENT_BYTES MODE
#
# WORK holds `commit_message` and `git_config`, the copy of .git/config from right after the clone;
# its existing folder `result` receives one file, `bundle`, as each file read from a cloud sandbox
# is a round trip. It begins with a line `SIZE NAME` for each section and an empty line; the
# sections follow, with nothing between them:
#   commits   two lines: the resulting commit, its tree
#   changes   `git diff --raw --numstat`, renames shown as a deletion and an addition
#   contents  `git cat-file --batch` of the small changed files, before and after
#             (at most MAX_FILES of at most MAX_FILE_BYTES, MAX_CONTENT_BYTES together)
#   patch     `git format-patch --binary --stdout`, for `git am`
#   diff      `git diff --binary --full-index`; left out when the patch is there and is one commit
#             of ours, whose message holds nothing that looks like a diff: the diff is the patch's
#             end
# A patch or a diff of more than MAX_CONTENT_BYTES is left out.
#
# MODE is `history` (keep the agent's own commits), `binary` (the same, with `attributes.diff` and
# `attributes.patch` in WORK as gitattributes for the one and the other) or `squash` (as `binary`,
# but one commit on the base).
#
# The script may be ended at any moment and run again: it then gives the same result.
set -eu

repository=$1 base=$2 work=$3 max_files=$4 max_file_bytes=$5 max_content_bytes=$6 mode=$7
result=$work/result

cd -- "$repository"

# What is left of an interrupted run may still be open in a process of it.
[ ! -e "$result/changes" ] ||
    (cd -- "$result" && rm -f -- sizes commits changes contents patch diff bundle)

# Without this git would go on to look for a repository in the folders above.
export GIT_DIR="$repository/.git" GIT_WORK_TREE="$repository"

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
    git config --file .gitmodules --get-regexp '^submodule\..*\.path$' >"$result/submodules" || true
    find . -mindepth 2 -name .git -prune -exec sh -c '
        base=$1 submodules=$2; shift 2
        for git_directory; do
            directory=${git_directory%/.git}
            case $(git ls-tree "$base" -- "$directory") in
            "160000 "*) continue ;;
            esac
            ! grep -Fq -- " ${directory#./}" "$submodules" || continue
            git rm --quiet --cached -r --ignore-unmatch -- "$directory"
            rm -rf -- "$git_directory"
        done' flatten "$base" "$result/submodules" {} +
}

# The index also knows the files that are tracked although .gitignore names them.
restore_index() {
    rm -f .git/index
    git read-tree HEAD 2>/dev/null || git read-tree "$base"
}

stage_everything() {
    git ls-files -v --stage 2>/dev/null | grep -E '^([a-zS]|. 160000)' >"$result/unusual" &
    [ -e .git/index ] || restore_index
    if ! git add --all 2>"$result/add_errors" || [ -s "$result/add_errors" ]; then
        git ls-files --error-unmatch . >/dev/null 2>&1 || restore_index
        flatten_nested_repositories
        chmod -R u+rX . 2>/dev/null || true
        git add --all || stage_bytes_as_they_are
    fi
    wait
    [ ! -s "$result/unusual" ] || stage_unusual_entries
}

# For attributes that do not fit the files, such as an encoding they are not in.
stage_bytes_as_they_are() {
    mkdir -p .git/info
    echo '* -text -working-tree-encoding -filter -ident' >.git/info/attributes
    git add --all
    rm .git/info/attributes
}

# References to other commits, and files that the agent told git not to look at. Files that a
# sparse checkout left out stay as they are in the base.
stage_unusual_entries() {
    flatten_nested_repositories
    git ls-files -z | git update-index -z --no-assume-unchanged --stdin
    git -c core.sparseCheckout=true add --all
}

# What `git am` cannot carry: merges, a history that does not start at the base, messages that
# look like a patch or begin with headers, commits without a subject or without an author's name.
history_fits_a_mailbox() {
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

write_patch() {
    # shellcheck disable=SC2086 # a fixed list of options
    git format-patch --quiet --stdout --no-stat --no-signature $options "$base..$commit" \
        >"$result/patch"
}

write_diff() {
    # shellcheck disable=SC2086
    git diff $options "$base" "$tree" >"$result/diff"
}

write_changes() {
    git diff --raw --numstat --no-renames --no-abbrev --no-ext-diff "$base" "$tree" \
        >"$result/changes"
}

# Loops instead of awk: for the few files of most tasks a process costs more.
list_objects() {
    number=0
    while read -r old_mode new_mode old new _ && [ "$number" -lt "$max_files" ]; do
        case $old_mode in
        :*) number=$((number + 1)) ;;
        *) break ;;
        esac
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

write_contents() {
    list_objects <"$result/changes" | git cat-file --batch-check | choose_small_files |
        git cat-file --batch >"$result/contents"
}

measure() {
    wc -c "$@" >sizes
    sections=
    while read -r size name; do
        case $name in
        patch | diff) [ "$size" -le "$max_content_bytes" ] || continue ;;
        total) break ;;
        esac
        sections="$sections$size $name
"
    done <sizes
}

# Without the patch the diff is nowhere else.
write_bundle() {
    cd -- "$result"
    measure commits changes contents patch ${diff_is_separate:+diff}
    case $diff_is_separate$sections in
    yes* | *" patch"*) ;;
    *)
        (cd -- "$repository" && write_diff)
        measure commits changes contents patch diff
        ;;
    esac
    set --
    while read -r _ name && [ "$name" ]; do
        set -- "$@" "$name"
    done <<END
$sections
END
    { printf '%s\n' "$sections" && cat "$@"; } >bundle
}

read_head
stage_everything
# git doubts every file that is as old as the index, which after a quick clone is all of them, and
# would read them once more. It just did.
touch -t 203801010000 .git/index
tree=$(git write-tree)

diff_is_separate=
if [ "$mode" != history ]; then
    diff_is_separate=yes
    make_commit
    mkdir -p .git/info
    cp -- "$work/attributes.patch" .git/info/attributes
    write_patch
    cp -- "$work/attributes.diff" .git/info/attributes
    write_diff
    write_changes
    write_contents
else
    # The tree is all that these need.
    { write_changes && write_contents; } &
    listing_process=$!
    if [ "$head" = "$base" ]; then
        make_commit
        write_patch
    else
        diff_is_separate=yes
        write_diff &
        diff_process=$!
        make_commit
        write_patch
        wait "$diff_process"
    fi
    wait "$listing_process"
fi
[ -s "$result/changes" ] || [ "$parent" != "$base" ] || commit=$base
printf '%s\n%s\n' "$commit" "$tree" >"$result/commits"
write_bundle
