#!/bin/sh
# Turns the changes that an agent left in a repository into a commit, a diff and a patch.
#
#   capture.sh REPOSITORY BASE_COMMIT WORK MAX_FILES MAX_FILE_BYTES MAX_CONTENT_BYTES MODE BUNDLE
#
# Needs stage.sh, commit.sh and bundle.sh in its own folder. WORK holds `commit_message` and
# `git_config`, the copy of .git/config made right after the clone. The result is one file, BUNDLE,
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

case $0 in
*/*) scripts=${0%/*} ;;
*) scripts=. ;;
esac
# shellcheck source-path=SCRIPTDIR source=stage.sh
. "$scripts/stage.sh"
# shellcheck source-path=SCRIPTDIR source=commit.sh
. "$scripts/commit.sh"
# shellcheck source-path=SCRIPTDIR source=bundle.sh
. "$scripts/bundle.sh"

[ -d "$result" ] || mkdir -- "$result"
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
