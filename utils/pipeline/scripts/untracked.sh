# shellcheck shell=sh
# Prints the files and folders that git would add, as lines for .gitignore. Names that git quotes
# are left out, and so are those beyond a size that no ordinary setup reaches.
#
# Sourced by before_setup.sh and after_setup.sh in the repository.

list_untracked() {
    git ls-files --others --exclude-standard --directory --no-empty-directory |
        head -c 1000000 | grep -v '^"' |
        sed -e 's/[][*?\\]/\\&/g' -e 's/ $/\\ /' -e 's|^|/|' | LC_ALL=C sort || true
}
