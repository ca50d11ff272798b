#!/bin/sh
# Prints what HEAD of a remote repository is, without cloning it.
#
#   remote_head.sh URL TRACE CREDENTIAL_URL
#
# Prints the output of `git ls-remote --symref`; when the host redirects, prints `location ADDRESS`
# and fails. Standard input is that of clone.sh, and so is the way of the token. TRACE is a file for
# the headers of the answers; git leaves credentials out of it.
set -eu

url=$1 trace=$2 credential_url=$3
exec 3<&0 </dev/null

# Only git's connections by HTTP write it; a process takes as long as a small git command.
remove_trace() {
    { [ ! -e "$trace" ] && [ ! -L "$trace" ]; } || rm -f -- "$trace"
}

remove_trace
status=0
GIT_TRACE_CURL=$trace GIT_TRACE_CURL_NO_DATA=1 GIT_TRACE_REDACT=1 git -c credential.helper= \
    -c "credential.$credential_url.helper=!answer() { cat <&3; }; answer" \
    ls-remote --symref -- "$url" HEAD || status=$?
if [ "$status" -ne 0 ] && [ -f "$trace" ]; then
    sed -n 's/^.*<= Recv header: *[Ll][Oo][Cc][Aa][Tt][Ii][Oo][Nn]: */location /p' "$trace"
fi
remove_trace
exit "$status"
