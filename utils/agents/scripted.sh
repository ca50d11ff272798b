#!/bin/sh
# The scripted agent. Stands in for an AI: makes a small, deterministic, reviewable change.
#
#   scripted.sh PROMPT_FILE AGENT_NAME [scripts]        run in the repository
#
# It adds the prompt to AI_GENERATED.md. With the argument `scripts`, a prompt whose first line is
# `script:` is carried out line by line instead, so that tests and demonstrations can drive
# everything a real agent may do:
#
#   write PATH TEXT      append PATH TEXT      bytes PATH BASE64     delete PATH
#   rename PATH PATH     chmod MODE PATH       link TARGET PATH      commit MESSAGE
#   print TEXT           error TEXT            output BYTES          sleep SECONDS
#   fail EXIT_CODE       background SECONDS    (leaves a process behind, out of the group)
#   environment          (prints the names and values the agent can see)
#
# PATH and TEXT understand the escapes of printf's %b: \n, \t, \0351 for the byte E9, \0040 for a
# space inside a path. Words of the prompt are only ever data here: nothing is evaluated, nothing
# outside the work tree is written, and no program of the repository's configuration runs.
set -u

prompt=$1 agent=$2 scripts=${3:-}
top=$(pwd -P)
changes=0

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

generate_file() {
    path=./AI_GENERATED.md
    [ ! -d "$path" ] || [ -L "$path" ] || path=$path/notes.md
    replace_link
    verb=Extended
    [ -e "$path" ] || verb=Created
    {
        [ "$verb" = Created ] || echo
        printf '## %s was asked\n\n' "$agent"
        cat -- "$prompt"
        printf '\n'
    } >>"$path" || fail "AI_GENERATED.md cannot be written"
    printf 'result: %s AI_GENERATED.md with the prompt (simulated, no AI was called)\n' "$verb"
}

printf 'scripted agent standing in for %s\n' "$agent"
IFS= read -r first_line <"$prompt" || true
case $scripts:$first_line in
scripts:script:*) run_script <"$prompt" ;;
*) generate_file ;;
esac
