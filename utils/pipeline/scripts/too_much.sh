# shellcheck shell=sh
# Leaves out the largest changes when all changes together are larger than what is stored.
#
# Sourced by capture.sh. Reads $base, $head, $tree, $options and $max_content_bytes;
# sets $tree, and $squash when the agent's own commits hold what is left out.
# shellcheck disable=SC2034,SC2154 # used and set by capture.sh

# Room for the head of the mail in a patch.
MAIL_BYTES=512

leave_out_largest() {
    git read-tree "$tree"
    git update-index --index-info <"$run/entries"
    whole=$tree
    tree=$(git write-tree)
    git diff-tree -r -z --name-only --no-renames "$whole" "$tree" >"$run/staged"
    to_list <"$run/staged" >"$run/found"
    note too_much "$run/found"
    [ "$head" = "$base" ] || squash=yes
}

# Writes `BYTES LINE` for each line of `git diff --raw`, largest first: the bytes of its part of the
# diff. A file that becomes a link has two parts.
measure_changes() {
    end='the end of the diff'
    # shellcheck disable=SC2086 # a fixed list of options
    { git diff $options --raw --no-abbrev "$base" "$tree" && echo "$end"; } | awk -v end="$end" '
        !parts && /^:/ { lines++; line[lines] = $0; left[lines] = ($5 ~ /^T/) ? 2 : 1; next }
        !parts && $0 == "" { parts = 1; next }
        $0 == end { complete = 1; next }
        /^diff --git / {
            while (number <= lines && (number == 0 || left[number] == 0)) number++
            left[number]--
        }
        { bytes[number] += length($0) + 1 }
        END {
            if (!complete || number > lines) exit 1
            for (i = 1; i <= lines; i++) printf "%d %s\n", bytes[i], line[i]
        }' >"$run/measured" || fail "the changes could not be measured"
    sort -rn -o "$run/sizes" "$run/measured"
}

# Writes the entries of the base for the largest changes, in the format of `update-index`; nothing
# when the diff fits, or when every change would be left out.
choose_largest() {
    [ "$mode" = history ] || cp -- "$bundle.patch" "$run/info/attributes"
    measure_changes
    awk -v max="$((max_content_bytes - MAIL_BYTES))" '
        { bytes[NR] = $1; total += $1; line[NR] = substr($0, index($0, ":") + 1) }
        END {
            for (last = 0; total > max + 0 && last < NR; ) total -= bytes[++last]
            if (last == NR) exit
            for (i = 1; i <= last; i++) {
                split(line[i], part, "\t"); split(part[1], field, " ")
                if (field[5] ~ /^R/) printf "0 %s\t%s\n", field[3], part[3]
                if (field[5] == "A") printf "0 %s\t%s\n", field[3], part[2]
                else printf "%s %s\t%s\n", field[1], field[3], part[2]
            }
        }' "$run/sizes" >"$run/entries"
}
