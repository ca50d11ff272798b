#!/bin/sh
# The scripted agent. Stands in for an AI: makes a small, deterministic, reviewable change.
#
#   scripted.sh PROMPT_FILE AGENT_NAME STEP_SECONDS [scripts | plan]        run in the repository
#
# It adds the prompt to AI_GENERATED.md, of each repository if there are several. In the sample
# repository of ./run.sh demo it edits the files as the prompt asks, runs the tests and commits. It
# waits STEP_SECONDS after each of these steps, so that people can follow them. With the argument
# `plan` it only says what it would do. With the argument `scripts`, a prompt whose first line is
# `script:` is carried out line by line instead, so that tests and demonstrations can drive
# everything a real agent may do:
#
#   write PATH TEXT      append PATH TEXT      bytes PATH BASE64     delete PATH
#   rename PATH PATH     chmod MODE PATH       link TARGET PATH      commit MESSAGE
#   print TEXT           error TEXT            output BYTES          sleep SECONDS
#   fail EXIT_CODE       background SECONDS    (leaves a process behind, out of the group)
#   environment          (prints the names and values the agent can see)
#   usage INPUT_TOKENS OUTPUT_TOKENS USD     (tells what the run has used and cost so far)
#
# PATH and TEXT understand the escapes of printf's %b: \n, \t, \0351 for the byte E9, \0040 for a
# space inside a path. Words of the prompt are only ever data here: nothing is evaluated, nothing
# outside the work tree is written, and no program of the repository or its configuration runs,
# except for the tests of the sample, whose files must be the known ones.
#
# It prints these lines for utils/agents/scripted.py, with \n and \\ as escapes in TEXT; all other
# lines are plain output:
#
#   message: TEXT      tool: NUMBER NAME TEXT      tool-end: NUMBER NAME EXIT_CODE TEXT
#   result: TEXT       usage: INPUT_TOKENS OUTPUT_TOKENS USD
set -u

prompt=$1 agent=$2 step_seconds=$3 scripts=${4:-}
top=$(pwd -P)
changes=0
newline='
'

fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}

# Decodes a path of the script into $path. It stays inside the work tree: neither links nor the
# folder of git are parts of it.
decode_path() {
    path=$(printf '%bx' "$1")
    path=${path%x}
    case "/$path/" in
    */../* | */./*) fail "a part of the path is . or .." ;;
    *//*) fail "the path is absolute or has an empty part" ;;
    esac
    refuse_git_folder "$path"
    folder=. rest=$path
    while [ "$rest" != "${rest#*/}" ]; do
        folder=$folder/${rest%%/*} rest=${rest#*/}
        [ ! -L "$folder" ] || fail "the path leads through a symbolic link"
        [ -d "$folder" ] || mkdir -- "$folder" || fail "the folder cannot be made"
    done
    path=./$path
}

# git and the file systems of other machines also take names for .git that have capital letters,
# invisible characters, blanks or dots at the end, a stream of NTFS (.git:x), or the short name of
# NTFS. All but the visible ASCII characters is ignored here, so a few harmless names are refused.
refuse_git_folder() {
    case $1 in
    *[Gg]*) ;;
    *) return ;;
    esac
    # shellcheck disable=SC1003 # a backslash at the end, not a quote
    visible=$(printf '/%s/' "$1" | LC_ALL=C tr 'A-Z:\\' 'a-z//' | LC_ALL=C tr -cd '!-~' |
        LC_ALL=C tr -s '.')
    case $visible in
    */.git/* | */.git./* | */git~[0-9]*) fail "a part of the path is the folder of git" ;;
    esac
}

# Leaves nothing, or a plain file, at $path: writing to a link would write somewhere else.
replace_link() {
    [ ! -L "$path" ] || rm -f -- "$path"
    [ ! -e "$path" ] || [ -f "$path" ] || fail "the path is no file"
}

# Commits in a git folder of its own, which has neither hooks nor a configuration that names
# programs, and moves the branch of the repository to the commit.
commit_all() {
    git_folder=$top/.git
    message=$(printf '%s\n' "$1" | git stripspace) && [ "$message" ] || return 1
    parent=$(GIT_DIR="$git_folder" git rev-parse --verify --quiet HEAD) || return 1
    read -r head <"$git_folder/HEAD"
    reference=HEAD
    [ "$head" = "${head#ref: }" ] || reference=${head#ref: }
    make_private_folder || return 1
    commit=$(
        export GIT_DIR="$private" GIT_WORK_TREE="$top" GIT_INDEX_FILE="$git_folder/index" \
            GIT_OBJECT_DIRECTORY="$git_folder/objects" GIT_CONFIG_NOSYSTEM=1
        git add --all && tree=$(git write-tree) &&
            printf '%s\n' "$message" | git commit-tree "$tree" -p "$parent"
    ) || return 1
    rm -rf -- "$private"
    mkdir -p -- "$(dirname -- "$git_folder/$reference")" &&
        printf '%s\n' "$commit" >"$git_folder/$reference"
}

make_private_folder() {
    private=$(mktemp -d) && mkdir "$private/objects" "$private/refs" &&
        echo 'ref: refs/heads/none' >"$private/HEAD" || return 1
    # Names of 64 characters are those of SHA-256.
    [ "${#parent}" -eq 40 ] ||
        printf '[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tobjectFormat = sha256\n' \
            >"$private/config"
}

generate_output() {
    awk -v bytes="$1" 'BEGIN {
        line = "0123456789012345678901234567890123456789012345678901234567890123456789012345678"
        for (; bytes >= 80; bytes -= 80) print line
        if (bytes > 0) printf "%s\n", substr(line, 1, bytes - 1)
    }'
}

leave_background_process() {
    if command -v setsid >/dev/null 2>&1; then
        setsid sleep "$1" >/dev/null 2>&1 &
    else
        sleep "$1" >/dev/null 2>&1 &
    fi
}

carry_out() {
    case $1 in
    write | append | bytes | delete | link | chmod | rename) changes=$((changes + 1)) ;;
    esac
    case $1 in
    write) decode_path "$2" && replace_link && printf '%b' "$3" >"$path" ;;
    append) decode_path "$2" && replace_link && printf '%b' "$3" >>"$path" ;;
    bytes) decode_path "$2" && replace_link && printf '%s' "$3" | base64 -d >"$path" ;;
    delete) decode_path "$2" && rm -rf -- "$path" ;;
    chmod) decode_path "$3" && [ ! -L "$path" ] && chmod -- "$2" "$path" ;;
    link)
        decode_path "$3"
        [ ! -e "$path" ] && [ ! -L "$path" ] && ln -s -- "$(printf '%b' "$2")" "$path"
        ;;
    rename)
        decode_path "$2"
        from=$path
        [ -e "$from" ] || [ -L "$from" ] || fail "the path does not exist"
        decode_path "$3"
        replace_link
        mv -f -- "$from" "$path"
        ;;
    commit) commit_all "$2${3:+ $3}" ;;
    print) printf '%b\n' "$2${3:+ $3}" ;;
    error) printf '%b\n' "$2${3:+ $3}" >&2 ;;
    output) generate_output "$2" ;;
    sleep) sleep "$2" ;;
    background) leave_background_process "$2" ;;
    environment) env ;;
    usage) printf 'usage: %s %s\n' "$2" "$3" ;;
    fail) fail "the script asked to fail" "$2" ;;
    *) fail "unknown command in the script" 2 ;;
    esac || fail "a command of the script failed" 3
}

run_script() {
    while read -r command first rest || [ -n "$command" ]; do
        case $command in
        '' | '#'* | script:*) ;;
        *) carry_out "$command" "$first" "$rest" ;;
        esac
    done
    printf 'result: carried out the script, %s file commands\n' "$changes"
}

# Most outputs are a line; each process that is not started is a millisecond.
escape() {
    case $1 in
    *\\* | *"$newline"*)
        printf '%s\n' "$1" | sed -e ':more' -e '$!{' -e 'N' -e 'b more' -e '}' \
            -e 's/\\/\\\\/g' -e 's/\n/\\n/g'
        ;;
    *) printf '%s\n' "$1" ;;
    esac
}

pause() {
    [ "$step_seconds" = 0 ] || sleep "$step_seconds"
}

say() {
    printf 'message: %s\n' "$1"
    pause
}

# Runs the function $3 as a tool NAME with the text INPUT, and prints both ends of the call.
calls=0
use_tool() {
    calls=$((calls + 1))
    printf 'tool: %s %s %s\n' "$calls" "$1" "$2"
    pause
    output=$("$3" 2>&1) && code=0 || code=$?
    printf 'tool-end: %s %s %s ' "$calls" "$1" "$code"
    escape "$output"
    pause
    return "$code"
}

# The sample repository of ./run.sh demo: its two files of code, as they are and as they may become
# here. Only these are run.
sample_code='
5c264caac8611475892193a80ac43e535450c053
34829d8868a0eba44c5096d6f998bcff8f2bbb8a'
sample_tests='
03a4ad4c0adde1af79988e24e7db9af6c6e92fa3
90a98a0cf441577e5bd7f51c01f20e5459608735
2ea33877beb095a9d5afcd3126baf0a04e7bb6aa
c45f22b1c26e852b8fee2119e2ca2ee7d94cef33
56fb37bd5bb564fe0a94aa6b163aa182dd150138'

is_known() {
    [ -f "$2" ] && [ ! -L "$2" ] && hash=$(git hash-object --no-filters -- "$2") || return 1
    case $1 in
    *"$hash"*) ;;
    *) return 1 ;;
    esac
}

is_sample() {
    [ -f README.md ] && [ ! -L README.md ] && is_known "$sample_code" basket.py &&
        is_known "$sample_tests" test_basket.py
}

read_code() { cat basket.py; }
read_tests() { cat test_basket.py; }
read_page() { cat README.md; }

take_discount() {
    awk '
    /Return the sum in cents\./ {
        sub(/cents\./, "cents, with ten per cent off from 100.00 upwards.")
    }
    /# TODO: take off/ { next }
    /return sum/ {
        print "        total = sum(self._prices.values())"
        print "        return total * 9 // 10 if total >= 10_000 else total"
        next
    }
    { print }' basket.py >basket.py.new && mv -f basket.py.new basket.py && echo "4 lines changed"
}

test_discount() {
    cat >>test_basket.py <<'END' && echo "7 lines added"

    def test_takes_ten_per_cent_off_from_100_upwards(self) -> None:
        basket = Basket()
        basket.add("teapot", 9_999)
        self.assertEqual(basket.total(), 9_999)
        basket.add("cup", 1)
        self.assertEqual(basket.total(), 9_000)
END
}

test_price() {
    cat >>test_basket.py <<'END' && echo "6 lines added"

    def test_a_later_price_replaces_the_earlier_one(self) -> None:
        basket = Basket()
        basket.add("tea", 450)
        basket.add("tea", 400)
        self.assertEqual(basket.total(), 400)
END
}

describe_module() {
    cat >>README.md <<'END' && echo "4 lines added"

`basket.py` has one class, `Basket`. `add` puts an item in or changes its price, `total` returns
the sum in cents. `test_basket.py` shows how to use it. A basket is not saved; it lives as long as
its object.
END
}

# In a folder of their own, so that Python imports nothing else from the repository.
run_tests() {
    aside=$(mktemp -d) && cp basket.py test_basket.py "$aside" || return 1
    (cd "$aside" && python3 -B -m unittest) >"$aside/output" 2>&1
    code=$?
    sed -e 's/ in [0-9.]*s$//' -e '/^$/d' -e '/^-*$/d' "$aside/output"
    rm -rf -- "$aside"
    return "$code"
}

commit_changes() { commit_all "$commit_message" && echo "committed"; }

# Sets $kind to the change that the prompt asks for, empty if it was made before.
choose_kind() {
    asked=$(tr '[:upper:]' '[:lower:]' <"$prompt")
    case $asked in
    *discount* | *'per cent'* | *percent* | *todo* | *fix* | *bug*) kind=discount done=basket.py ;;
    *test*) kind=price done=test_basket.py ;;
    *) kind=page done=README.md ;;
    esac
    # shellcheck disable=SC2016 # the quotes of Markdown
    case $kind in
    discount) mark='ten per cent off from' ;;
    price) mark='a_later_price' ;;
    page) mark='one class, `Basket`' ;;
    esac
    ! grep -q -F -e "$mark" "$done" || kind=
}

work_on_sample() {
    say "I look at the code first."
    use_tool Read basket.py read_code
    use_tool Read test_basket.py read_tests
    case $kind in
    discount)
        # shellcheck disable=SC2016 # the quotes of Markdown
        say 'Plan: take the discount in `total`, test both sides of its limit, run all tests.'
        use_tool Edit basket.py take_discount && use_tool Edit test_basket.py test_discount
        commit_message='Take ten per cent off from 100.00 upwards'
        ;;
    price)
        say 'Plan: test that a later price replaces the earlier one, run all tests.'
        use_tool Edit test_basket.py test_price
        commit_message='Test that a later price replaces the earlier one'
        ;;
    page)
        use_tool Read README.md read_page
        say 'Plan: describe the class and its two methods in README.md, run all tests.'
        use_tool Edit README.md describe_module
        commit_message='Describe the basket'
        ;;
    esac || fail "the files of the sample cannot be changed"
    if command -v python3 >/dev/null 2>&1; then
        use_tool Bash "python3 -m unittest" run_tests || say "A test fails. I leave it as it is."
    else
        say "python3 was not found, so I cannot run the tests."
    fi
    use_tool Bash "git commit --all --message '$commit_message'" commit_changes ||
        fail "the changes cannot be committed"
    printf 'result: %s (simulated, no AI was called)\n' "$commit_message"
}

# shellcheck disable=SC2012 # names to be read, not to be used
list_folder() { LC_ALL=C ls -A | head -n 20; }

generate_file() {
    path=$1/AI_GENERATED.md
    [ ! -d "$path" ] || [ -L "$path" ] || path=$path/notes.md
    replace_link
    verb=Extended
    [ -e "$path" ] || verb=Created
    use_tool Write "${path#./}" write_notes || fail "AI_GENERATED.md cannot be written"
}

# In each repository, when the task has several.
generate_files() {
    use_tool Bash "ls -A" list_folder
    if [ -e .git ]; then
        generate_file .
    else
        for repository in */.git; do
            repository=./${repository%/.git}
            [ ! -d "$repository/.git" ] || [ -L "$repository" ] || generate_file "$repository"
        done
    fi
    printf 'result: %s AI_GENERATED.md with the prompt (simulated, no AI was called)\n' "$verb"
}

write_notes() {
    {
        [ "$verb" = Created ] || echo
        printf '## %s was asked\n\n' "$agent"
        cat -- "$prompt"
        printf '\n'
    } >>"$path"
}

work_plainly() {
    verb=Created
    printf 'message: This is a simulation: a small script works in place of %s, without an AI.\n' \
        "$agent"
    kind=
    if is_sample; then choose_kind; fi
    if [ "$kind" ]; then work_on_sample; else generate_files; fi
}

printf 'scripted agent standing in for %s\n' "$agent"
IFS= read -r first_line <"$prompt" || true
case $scripts:$first_line in
plan:*) printf 'result: Plan: add the prompt to AI_GENERATED.md (simulated, no AI was called)\n' ;;
scripts:script:*) run_script <"$prompt" ;;
*) work_plainly ;;
esac
