#!/bin/sh
# Turns the changes that an agent left in a repository into a commit, a diff and a patch.
#
#   capture.sh REPOSITORY BASE_COMMIT WORK MAX_FILES MAX_FILE_BYTES MAX_CONTENT_BYTES MODE BUNDLE \
#       MAX_NEW_FILE_BYTES
#
# The server sends this script and those that it sources as one text. WORK holds `commit_message`,
# `git_config`, the copy of .git/config made right after the clone, and `generated_folders`, the names
# of folders that are left out when they are new, one a line; the agent may have removed them. The
# result is one file, BUNDLE, because each file read from a cloud sandbox is a request; bundle.sh
# describes its format.
#
# MODE is `history` (keep the agent's own commits), `binary` (the same, with BUNDLE.diff and
# BUNDLE.patch as gitattributes for the diff and the patch) or `squash` (as `binary`, but with a
# single commit on the base).
#
# The script may be ended at any moment and run again with the same result. It writes only to a
# folder of its own below WORK/result, and to the work tree: the agent's .git is only read.
set -eu

repository=$1 base=$2 work=$3 max_files=$4 max_file_bytes=$5 max_content_bytes=$6 mode=$7 bundle=$8
max_new_file_bytes=$9
result=$work/result

scripts=${0%/*}
# shellcheck source-path=SCRIPTDIR source=git_folder.sh
. "$scripts/git_folder.sh"
# shellcheck source-path=SCRIPTDIR source=stage.sh
. "$scripts/stage.sh"
# shellcheck source-path=SCRIPTDIR source=unusual.sh
. "$scripts/unusual.sh"
# shellcheck source-path=SCRIPTDIR source=references.sh
. "$scripts/references.sh"
# shellcheck source-path=SCRIPTDIR source=large_file_storage.sh
. "$scripts/large_file_storage.sh"
# shellcheck source-path=SCRIPTDIR source=commit.sh
. "$scripts/commit.sh"
# shellcheck source-path=SCRIPTDIR source=elsewhere.sh
. "$scripts/elsewhere.sh"
# shellcheck source-path=SCRIPTDIR source=bundle.sh
. "$scripts/bundle.sh"
# shellcheck source-path=SCRIPTDIR source=too_much.sh
. "$scripts/too_much.sh"

fail() {
    echo "$1" >&2
    exit 1
}

make_git_folder
create_bundle
stage_everything
trust_staged_files
tree=$(git write-tree)
find_work_elsewhere
make_commit
write_changes
leave_out_what_is_too_much
[ "$start" -gt 0 ] || [ "$parent" != "$base" ] || commit=$base
write_left_out
write_notes
end_bundle
