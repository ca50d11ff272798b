# shellcheck shell=sh
# Recognizes files of Git LFS, for which git stores a pointer: a text with their hash and size.
#
# Sourced by capture.sh. Uses the lists of unusual.sh.
# shellcheck disable=SC2154 # set by capture.sh and unusual.sh

POINTER_BYTES=1024

# A file that is what its pointer stands for is unchanged; git has no filter here that knows. The
# pointer is that of the index, or of the base when the agent staged the file.
keep_pointers() {
    : >"$run/changed_pointers"
    git ls-files --modified -z >"$run/staged"
    git diff-index --cached --name-only -z --no-renames "$base" >>"$run/staged"
    to_list <"$run/staged" | sort -u >"$run/candidates"
    [ -s "$run/candidates" ] || return 0
    list_small_files "$run/candidates" | sort -u >"$run/found"
    [ -s "$run/found" ] || return 0
    compare_with_pointers "$run/found"
    sed -n 's/^!//p' "$run/compared" >"$run/changed_pointers"
    sed -n 's/^base //p' "$run/compared" >"$run/equal"
    if [ -s "$run/equal" ]; then
        to_names <"$run/equal" | xargs -0 git ls-tree -z "$base" -- >"$run/entries"
        git update-index -z --index-info <"$run/entries"
    fi
    list_equal_files >"$run/equal"
    to_names <"$run/equal" | git update-index -z --assume-unchanged --stdin
}

# Prints the names of files that are small enough for a pointer in the base or in the index.
list_small_files() {
    to_names <"$1" | xargs -0 git ls-tree -l -z "$base" -- >"$run/staged"
    to_list <"$run/staged" | awk -v max="$POINTER_BYTES" '{
            tab = index($0, "\t"); split(substr($0, 1, tab - 1), field, / +/)
            if (field[2] == "blob" && field[4] + 0 <= max + 0) print substr($0, tab + 1)
        }'
    to_names <"$1" | xargs -0 git ls-files --stage -z -- >"$run/staged"
    to_list <"$run/staged" >"$run/entries"
    cut -d ' ' -f 2 "$run/entries" |
        git cat-file --batch-check='%(objectsize)' >"$run/sizes"
    paste "$run/sizes" "$run/entries" | awk -v max="$POINTER_BYTES" '
        $1 ~ /^[0-9]+$/ && $1 + 0 <= max + 0 { sub(/^[^\t]*\t[^\t]*\t/, ""); print }'
}

# compare_with_pointers LIST: writes a line for each file that has a pointer to $run/compared:
# `index NAME` or `base NAME` when the file is what the pointer there stands for, else `!NAME`.
compare_with_pointers() {
    : >"$run/compared"
    each "$1" compare_with_pointer
}

compare_with_pointer() {
    [ -f "$name" ] && [ ! -L "$name" ] || return 0
    found=
    for place in index base; do
        object=:0:$name
        [ "$place" = index ] || object=$base:$name
        if read_pointer "$object"; then
            found="!"
            ! equals_pointer || { found="$place " && break; }
        fi
    done
    [ -z "$found" ] || printf '%s%s\0' "$found" "$name" | to_list >>"$run/compared"
}

# read_pointer OBJECT: returns 1 when it is no pointer.
read_pointer() {
    pointer=$(git cat-file blob "$1" 2>/dev/null | head -c "$POINTER_BYTES" | tr -d '\0')
    case $pointer in
    "version https://git-lfs.github.com/spec/v1"*) ;;
    *) return 1 ;;
    esac
    hash='' size=
    while read -r key value; do
        case $key in
        oid) hash=${value#sha256:} ;;
        size) size=$value ;;
        esac
    done <<END
$pointer
END
}

# A file whose hash cannot be computed counts as changed, which loses nothing.
equals_pointer() {
    [ "$(($(wc -c <"$name")))" = "$size" ] || return 1
    actual=$(sha256sum <"$name" 2>/dev/null || shasum -a 256 <"$name") || return 1
    [ "${actual%% *}" = "$hash" ]
}

list_equal_files() {
    sed -n 's/^index //p; s/^base //p' "$run/compared"
}

# What was changed is in the result as git sees it; no content is sent to the storage.
note_large_file_storage() {
    git diff-index --cached --name-only -z --diff-filter=AMT --no-renames "$base" >"$run/staged"
    git check-attr -z --stdin filter <"$run/staged" >"$run/attributes"
    {
        to_list <"$run/attributes" |
            awk 'NR % 3 == 1 { path = $0 } NR % 3 == 0 && $0 == "lfs" { print path }'
        to_list <"$run/staged" | sort >"$run/some"
        sort "$run/changed_pointers" | comm -12 "$run/some" -
    } | sort -u >"$run/found"
    note lfs "$run/found"
}
