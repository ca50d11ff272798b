# shellcheck shell=sh
# Stages a work tree for which `git add` alone is not enough.
#
# Sourced by capture.sh. A list is a file with a name on each line, in which a newline of a name is the
# character \001.
# shellcheck disable=SC2034,SC2154 # used and set by capture.sh and stage.sh

NEWLINE_IN_LIST=$(printf '\001')

stage_unusual_files() {
    git ls-files --error-unmatch . >/dev/null 2>&1 || restore_index
    scan_again
    scan_known_folders
    add_options=
    ! grep -q '^[a-zS]' "$run/unusual" 2>/dev/null || forget_flags
    : >"$run/real"
    sort_references
    leave_out_folders
    leave_out_heavy_files
    leave_out_large_files
    ! uses_large_files || keep_pointers
    # shellcheck disable=SC2086 # options without blanks in them
    if ! add_all $add_options || [ -s "$run/add_errors" ]; then
        # Files that cannot be changed stay unreadable, and are listed below.
        chmod -R u+rX . 2>/dev/null || true
        # shellcheck disable=SC2086
        add_with_fallback $add_options
    fi
    list_left_out
    note_folders
    [ ! -s "$run/new_large" ] ||
        to_names <"$run/new_large" | git update-index -z --force-remove --stdin
    ! uses_large_files || note_large_file_storage
}

to_list() {
    tr '\n\0' '\001\n'
}

to_names() {
    tr '\n\001' '\0\n'
}

# each LIST COMMAND: runs a command for each name, which is in $name.
each() {
    while IFS= read -r name <&3; do
        case $name in
        *"$NEWLINE_IN_LIST"*)
            name=$(printf '%s.' "$name" | tr '\001' '\n')
            name=${name%.}
            ;;
        esac
        "$2"
    done 3<"$1"
}

# without LIST...: prints the names of standard input that are in none of the lists.
without() {
    sort -u >"$run/some"
    sort -u -- "$@" | comm -23 "$run/some" -
}

# note KIND LIST: see the section `notes` in bundle.sh.
note() {
    [ -s "$2" ] || return 0
    {
        printf '%s\t%d\t' "$1" "$(wc -l <"$2")"
        head -n 3 "$2" | tr '\001\t\n' '??\t'
        echo
    } >>"$run/notes"
}

# Some folders could not be searched. Those that still cannot are also closed to git, which reports
# them.
scan_again() {
    [ "$scan_status" -ne 0 ] || return 0
    chmod -R u+rX . 2>/dev/null || true
    rm -f -- "$run/nested" "$run/folders" "$run/large" "$run/heavy"
    (scan .) || [ $? -lt 126 ] || fail "the repository could not be searched"
}

# A folder of such a name that is in a commit is one like others.
scan_known_folders() {
    : >"$run/known_folders"
    while [ -s "$run/folders" ]; do
        to_list <"$run/folders" >"$run/found"
        list_committed "$run/found" >"$run/known"
        without "$run/known_folders" <"$run/known" >"$run/next"
        [ -s "$run/next" ] || return 0
        cat -- "$run/next" >>"$run/known_folders"
        each "$run/next" scan_folder
    done
}

scan_folder() {
    (scan "./$name") || [ $? -lt 126 ] || fail "the repository could not be searched"
}

# Files that the agent told git to ignore in the index. Files outside a sparse checkout stay as they
# are in the base.
forget_flags() {
    git ls-files -z >"$run/staged"
    git update-index -z --no-assume-unchanged --stdin <"$run/staged"
    # Otherwise a file stays unchanged for git that it considered unchanged when it wrote the index
    # in a later second.
    touch -t 198001010000 "$run/index"
    add_options='-c core.sparseCheckout=true'
}

# exclude LIST: has git ignore untracked files and folders.
exclude() {
    sed 's/[][*?\\]/\\&/g; s/ $/?/; s/^/\//' "$1" | tr '\001\r' '??' >>"$run/info/exclude"
}

# outside LIST: prints the names that are not inside of a submodule.
outside() {
    awk 'BEGIN {
            while ((getline line <ARGV[1]) > 0) inside[line "/"]
            ARGV[1] = ""
        }
        { for (folder in inside) if (index($0, folder) == 1) next; print }' "$run/real" "$1"
}

# Prints the names of a list that git ignores. It fails for some names, which costs nothing: the
# files are not added, and only the note is longer.
ignored() {
    sed 's/^/.\//' "$1" | to_names |
        GIT_LITERAL_PATHSPECS=0 git check-ignore -z --stdin 2>/dev/null | to_list | sed 's/^\.\///'
}

# list_committed LIST: prints the names that the base or the last commit contains.
list_committed() {
    in_commit "$base" "$1"
    [ "$head" = "$base" ] || in_commit "$head" "$1"
}

# in_commit COMMIT LIST: prints the names that the commit contains.
in_commit() {
    to_names <"$2" | xargs -0 git ls-tree -z --name-only "$1" -- >"$run/staged"
    to_list <"$run/staged"
}

# Folders that were not there and that git would add, because no .gitignore names them.
leave_out_folders() {
    [ -s "$run/folders" ] || return 0
    to_list <"$run/folders" >"$run/found"
    outside "$run/found" >"$run/candidates"
    [ -s "$run/candidates" ] || return 0
    ignored "$run/candidates" >"$run/known"
    without "$run/known" "$run/known_folders" <"$run/candidates" >"$run/new_folders"
    [ -s "$run/new_folders" ] || return 0
    exclude "$run/new_folders"
    to_names <"$run/new_folders" | xargs -0 git ls-files -z -- >"$run/staged"
    git update-index -z --force-remove --stdin <"$run/staged"
}

# A .gitignore may allow what would be left out.
note_folders() {
    [ -s "$run/new_folders" ] || return 0
    to_names <"$run/new_folders" | xargs -0 git ls-files -z -- >"$run/staged"
    to_list <"$run/staged" | awk '{
            for (path = $0; sub(/\/[^\/]*$/, "", path); ) if (!seen[path]++) print path
        }' >"$run/known"
    without "$run/known" <"$run/new_folders" >"$run/noted"
    note folders "$run/noted"
}

# Takes for large what is too much together, so that nothing of it is read.
leave_out_heavy_files() {
    : >"$run/too_heavy"
    has_too_much || return 0
    list_candidates heavy
    [ -s "$run/found" ] || return 0
    to_names <"$run/found" | xargs -0 wc -c 2>/dev/null | sort -rn |
        awk -v max="$((max_content_bytes * 10))" '{
            bytes[NR] = $1; sub(/^ *[0-9]+ /, ""); name[NR] = $0
            if ($0 != "total") sum += bytes[NR]
        }
        END {
            for (i = 1; sum > max + 0 && i <= NR; i++) if (name[i] != "total") {
                sum -= bytes[i]; print name[i]
            }
        }' >"$run/too_heavy"
    to_names <"$run/too_heavy" >>"$run/large"
}

# list_candidates LIST: writes those files of a list to $run/found that git would add or compare.
list_candidates() {
    : >"$run/found"
    [ -s "$run/$1" ] || return 0
    to_list <"$run/$1" >"$run/found"
    outside "$run/found" >"$run/candidates"
    ignored "$run/candidates" >"$run/known"
    without "$run/known" <"$run/candidates" >"$run/found"
}

# Files above the limit that were not in the base, or not above the limit. git takes them for
# unchanged; list_left_out removes new ones from the index.
leave_out_large_files() {
    : >"$run/left_large"
    list_candidates large
    [ -s "$run/found" ] || return 0
    : >"$run/known"
    : >"$run/grown"
    to_names <"$run/found" | xargs -0 git ls-tree -l -z "$base" -- >"$run/staged"
    to_list <"$run/staged" |
        awk -v max="$max_new_file_bytes" -v known="$run/known" -v grown="$run/grown" '{
            tab = index($0, "\t"); split($0, field, / +/); path = substr($0, tab + 1)
            split(field[4], size, "\t")
            if (field[2] == "tree") next
            if (field[2] != "blob" || size[1] + 0 > max + 0) print path >known
            else { print path >grown; print field[1] " " field[3] " 0\t" path }
        }' >"$run/entries"
    without "$run/known" <"$run/found" >"$run/left_large"
    [ -s "$run/left_large" ] || return 0
    without "$run/grown" <"$run/left_large" >"$run/new_large"
    # Any object: the entry is removed before the tree is written.
    sed "s/^/100644 $base 0	/" "$run/new_large" >>"$run/entries"
    to_names <"$run/entries" | git update-index -z --index-info
    to_names <"$run/left_large" | git update-index -z --assume-unchanged --stdin
    note_large_files
    [ "$head" = "$base" ] || squash_if_committed
}

note_large_files() {
    cp -- "$run/left_large" "$run/noted"
    if uses_large_files; then
        compare_with_pointers "$run/left_large"
        list_equal_files >"$run/equal"
        without "$run/equal" <"$run/left_large" >"$run/noted"
    fi
    sort "$run/too_heavy" | comm -12 "$run/noted" - >"$run/heavy_told"
    note too_much "$run/heavy_told"
    without "$run/heavy_told" <"$run/noted" >"$run/next"
    note large "$run/next"
}

# Otherwise the agent's own commits would still contain the files.
squash_if_committed() {
    to_names <"$run/left_large" |
        xargs -0 git diff-tree -r --name-only "$base" "$head" -- >"$run/committed"
    [ ! -s "$run/committed" ] || squash=yes
}

add_with_fallback() {
    add_all "$@" || [ $? -eq 1 ] || add_without_conversion "$@"
}

# For attributes that do not fit the files, such as an encoding that a file does not have.
add_without_conversion() {
    echo '* -text -working-tree-encoding -filter -ident' >"$run/info/attributes"
    add_all "$@" || [ $? -eq 1 ] || fail "$(cat "$run/add_errors")"
    rm -- "$run/info/attributes"
}

# Files that were not added stay as they are in the base. Their names are listed as git quotes them:
# some look like .git because they contain invisible characters.
list_left_out() {
    remove_stray_references
    [ -s "$run/add_errors" ] || [ -s "$run/strays" ] || [ -L .gitmodules ] || return 0
    ! grep ': failed to insert into database$' "$run/add_errors" >&2 || exit 1
    # .gitmodules is the one name that git stages as a link if it was a file before.
    if [ -L .gitmodules ]; then
        git update-index --force-remove .gitmodules
        git ls-tree "$base" .gitmodules >"$run/entries"
        git update-index --index-info <"$run/entries"
    fi
    {
        git ls-files --others --modified --exclude-standard --directory --no-empty-directory \
            2>/dev/null || fail "the list of files that were left out could not be read"
        sed -n "s/': [^']*\$//; s/^warning: could not open directory '//p" "$run/add_errors"
    } | sort -u >"$run/left_out"
}
