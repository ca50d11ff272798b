#!/bin/sh
# Turns the changes that an agent left in a repository into a commit, a diff and a patch.
#
#   capture.sh REPOSITORY BASE_COMMIT WORK MAX_FILES MAX_FILE_BYTES MAX_CONTENT_BYTES MODE BUNDLE
#
# Sources stage.sh, commit.sh and bundle.sh; the server sends all of them as one text. WORK holds
# `commit_message` and `git_config`, the copy of .git/config made right after the clone. The result is one file, BUNDLE,
# because each file read from a cloud sandbox is a request; bundle.sh describes its format.
#
# MODE is `history` (keep the agent's own commits), `binary` (the same, with `attributes.diff` and
# `attributes.patch` in WORK as gitattributes for the diff and the patch) or `squash` (as `binary`,
# but with a single commit on the base).
#
# The script may be ended at any moment and run again with the same result.
set -eu

repository=$1 base=$2 work=$3 max_files=$4 max_file_bytes=$5 max_content_bytes=$6 mode=$7 bundle=$8
result=$work/result

scripts=${0%/*}
# shellcheck source-path=SCRIPTDIR source=stage.sh
. "$scripts/stage.sh"
# shellcheck source-path=SCRIPTDIR source=commit.sh
. "$scripts/commit.sh"
# shellcheck source-path=SCRIPTDIR source=bundle.sh
. "$scripts/bundle.sh"

# The agent can write to the folder of the result: what is no plain file could block.
{ [ -d "$result" ] && [ ! -L "$result" ]; } || { rm -rf -- "$result" && mkdir -- "$result"; }
[ -w "$result" ] && [ -x "$result" ] || chmod u+rwx -- "$result"
for file in "$result"/* "$work/commit_message" "$work/git_config"; do
    if [ -L "$file" ] || { [ -e "$file" ] && [ ! -f "$file" ]; }; then
        rm -rf -- "$file"
    fi
done
[ -e "$work/commit_message" ] || echo 'Changes of an agent' >"$work/commit_message"

[ ! -L "$repository" ] || { echo "a link has replaced the folder of the repository" >&2 && exit 1; }
[ -x "$repository" ] || chmod u+rwx -- "$repository"
cd -- "$repository"

# A process of an interrupted run may still have these files open.
[ ! -e "$result/objects" ] || rm -f -- "$bundle" "$result/changes" "$result/objects"

# Otherwise git would search for a repository in the parent folders.
export GIT_DIR="$repository/.git" GIT_WORK_TREE="$repository"
# A file may be named `*` or `:(top)`.
export GIT_LITERAL_PATHSPECS=1

restore_git_folder
begin_bundle
read_head
stage_everything
trust_staged_files
tree=$(git write-tree)
make_commit
write_changes_for_mode
[ "$start" -gt 0 ] || [ "$parent" != "$base" ] || commit=$base
write_left_out
end_bundle
