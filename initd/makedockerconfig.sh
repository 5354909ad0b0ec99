#!/bin/sh
# {{ name }}: writes the login for Docker Hub, or for another registry, to where
# the programs of the box read it ({{ extension }} {{ version }}):
#   ~/.docker/config.json of root and of the user who calls this through sudo,
#   for buildctl, and
#   /var/lib/faasd/.docker/config.json, for faasd.
# Nothing here needs a registry; this is for those who push to or pull from one.
# Needs base64 (coreutils.tcz).
{## No values of the recipe. ##}

{% include "lib/maker.sh" %}

usage() {
    cat <<EOF
usage: $0 [--username NAME] [--token-file FILE] [--registry ADDRESS]
  --username    or DOCKERHUB_USERNAME in the environment, or asked for
  --token-file  a file with the personal access token (- is the standard input),
                or DOCKERHUB_TOKEN in the environment, or asked for
  --registry    another registry than Docker Hub: ghcr.io
EOF
}

username=${DOCKERHUB_USERNAME:-} token=${DOCKERHUB_TOKEN:-} registry=https://index.docker.io/v1/
# Not for the programs called below.
unset DOCKERHUB_TOKEN

while [ $# -gt 0 ]; do
    case $1 in
    --username | --username=*) username=$(option "$@") || exit 1 ;;
    --registry | --registry=*) registry=$(option "$@") || exit 1 ;;
    --token-file | --token-file=*)
        file=$(option "$@") || exit 1
        read_secret "$file"
        token=$answer
        ;;
    --token | --token=*)
        die "an argument can be seen by everybody (ps): use --token-file or DOCKERHUB_TOKEN"
        ;;
    *) other_option "$1" ;;
    esac
    case $1 in --*=*) shift ;; *) shift 2 ;; esac
done

must_be_root
command -v base64 >/dev/null || die "the program base64 is missing: tce-load -i coreutils"
case $registry in
'' | *[!A-Za-z0-9.:/_-]*) die "this is no registry's address: $registry" ;;
esac

if [ -z "$username" ]; then
    ask "enter your dockerhub username:"
    username=$answer
fi
one_line username "$username"
case $username in
'') die "no username given" ;;
*:*) die "a username cannot have a colon in it" ;;
esac
if [ -z "$token" ]; then
    ask_secretly "enter your dockerhub personal access token:"
    token=$answer
fi
[ -n "$token" ] || die "no token given"
one_line token "$token"

auth=$(printf '%s' "$username:$token" | base64 | tr -d '\n')
[ -n "$auth" ] || die "cannot write the login as programs read it: base64 gives nothing"

config() {
    printf '{\n    "auths": {\n        "%s": {\n            "auth": "%s"\n        }\n    }\n}\n' "$registry" "$auth"
}

# give HOME OWNER: once for each home.
given=:
give() {
    case $given in *":$1:"*) return ;; esac
    given=$given$1:
    config | put_secret "$1/.docker/config.json" "$2" || exit 1
}

caller=${SUDO_USER:-root}
[ -z "$(account "$caller" 6)" ] || give "$(account "$caller" 6)" "$(account "$caller" 3):$(account "$caller" 4)"
give "$(account root 6)" 0:0
give "${HOME:-/root}" 0:0
(umask 022 && mkdir -p /var/lib/faasd)
give /var/lib/faasd 0:0
