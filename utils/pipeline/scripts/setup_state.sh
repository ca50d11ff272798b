# shellcheck shell=sh
# Tells which script of the repository a setup has run.
#
# Sourced by after_setup.sh and restore.sh in the repository.

# hash_of FILE: prints a hash of a file, or a word without one.
hash_of() {
    if [ -n "$1" ] && [ -f "$1" ]; then git hash-object -- "$1"; else echo none; fi
}
