#!/bin/sh
# The scripted agent. Stands in for an AI: makes a small, deterministic, reviewable change.
#
#   scripted.sh PROMPT_FILE AGENT_NAME        run in the repository
#
# It adds the prompt to AI_GENERATED.md. A prompt whose first line is `script:` is carried out line
# by line instead, so that tests and demonstrations can drive everything a real agent may do:
#
#   write PATH TEXT      append PATH TEXT      bytes PATH BASE64     delete PATH
#   rename PATH PATH     chmod MODE PATH       link TARGET PATH      commit MESSAGE
#   print TEXT           error TEXT            output BYTES          sleep SECONDS
#   fail EXIT_CODE       background SECONDS    (leaves a process behind, out of the group)
#   environment          (prints the names and values the agent can see)
#
# PATH and TEXT understand the escapes of printf's %b: \n, \t, \0351 for the byte E9, \0040 for a
# space inside a path. Words of the prompt are only ever data here: nothing is evaluated.
set -u

prompt=$1 agent=$2
top=$(pwd -P)
changes=0

fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}

# A path of the script, decoded into $path; it must stay inside the repository, symlinks included.
decode_path() {
    path=$(printf '%bx' "$1")
    path=./${path%x}
    case "$path/" in
    */../*) fail "the path leaves the repository" ;;
    *//*) fail "the path is absolute or has an empty part" ;;
    esac
    folder=${path%/*}
    existing=$folder
    until [ -d "$existing" ]; do existing=${existing%/*}; done
    case "$(cd -- "$existing" && pwd -P)/" in
    "$top"/*) ;;
    *) fail "the path leaves the repository through a symbolic link" ;;
    esac
    [ "$folder" = "$existing" ] || mkdir -p -- "$folder" || fail "the folder cannot be made"
}

replace_link() {
    [ ! -L "$path" ] || rm -f -- "$path"
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
        ln -s -- "$(printf '%b' "$2")" "$path"
        ;;
    rename)
        decode_path "$2"
        from=$path
        decode_path "$3"
        mv -- "$from" "$path"
        ;;
    commit) git add --all && git commit --quiet --allow-empty --message "$2${3:+ $3}" ;;
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
    replace_link
    [ ! -d "$path" ] || path=./AI_GENERATED.md/notes.md
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
case $first_line in
script:*) run_script <"$prompt" ;;
*) generate_file ;;
esac
