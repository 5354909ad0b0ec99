#!/bin/sh
# {{ name }}: writes code-server's configuration, with the password for the
# editor ({{ extension }} {{ version }}), for root and for the box's user:
#   /root/.config/code-server/config.yaml, which vscodeonline names, and
#   /home/tc/.config/code-server/config.yaml
# Both hold a hash of the password, which code-server's own node makes, and not
# the password itself, unless --plain is given. Even so they are secrets: the
# hash is what a browser that has logged in presents from then on.
{## Values of the recipe (`with`):
  hash  argon2 (what code-server 4 is given unless said otherwise), sha256 (3,
        which knows nothing better), or none for a plain password
  bind  where to listen (127.0.0.1:5000) ##}

{% include "lib/maker.sh" %}
{% include "lib/secret.sh" %}

{% set hash = with.hash | default("sha256" if version is startingwith("3.") else "argon2") %}
usage() {
    cat <<EOF
usage: $0 [--token-file FILE | --generate] [--plain]
  --token-file  a file with the password (- is the standard input); or
                VSCODE_TOKEN in the environment, or asked for
  --generate    makes a password without asking
  --plain       keeps the password as plain text, and not a hash of it
EOF
}

token=${VSCODE_TOKEN:-} asking=yes plain={{ "yes" if hash == "none" }}
# Not for the programs called below.
unset VSCODE_TOKEN

while [ $# -gt 0 ]; do
    case $1 in
    --token-file | --token-file=* | --password-file | --password-file=*)
        file=$(option "$@") || exit 1
        read_secret "$file"
        token=$answer
        case $1 in --*=*) shift ;; *) shift 2 ;; esac
        ;;
    --generate)
        token='' asking=''
        shift
        ;;
    --plain)
        plain=yes
        shift
        ;;
    --token | --token=* | --password | --password=*)
        die "an argument can be seen by everybody (ps): use --token-file or VSCODE_TOKEN"
        ;;
    *) other_option "$1" ;;
    esac
done

must_be_root
root_home=$(account root 6)
directory=${root_home:-/root}/.config/code-server
kept=$directory/password

if [ -z "$token" ] && [ -n "$asking" ]; then
    echo "$NAME: with none given, one is made" >&2
    ask_secretly "enter your desired access token(plain strings ok):"
    token=$answer
fi
one_line password "$token"
made=
if [ -z "$token" ]; then
    token=$(random_password 32) made=yes
    [ "${#token}" -eq 32 ] || die "cannot make a password: /dev/urandom gives nothing"
fi
case $token in
*[![:space:]]*) ;;
*) die "the password has nothing in it but blanks" ;;
esac

{% if hash != "none" %}
# Prints the hash of its input. Node says itself what it cannot do.
hash() {
    program=$(command -v code-server) || die "there is no program code-server: is its extension loaded?"
    program=$(readlink -f "$program") || return 1
    # Of a release: bin/code-server; of the npm package: out/node/entry.js.
    root=${program%/bin/code-server}
    root=${root%/out/node/entry.js}
    node=$root/lib/node
    [ -x "$node" ] || node=node
{% if hash == "argon2" %}
    # The login page takes away blanks at the ends of what is typed.
    "$node" -e '
        const argon2 = require(require.resolve("argon2", { paths: [process.argv[1]] }));
        const password = require("fs").readFileSync(0, "utf8").trim();
        argon2.hash(password).then(console.log);
    ' "$root"
{% else %}
    "$node" -e '
        const password = require("fs").readFileSync(0, "utf8");
        console.log(require("crypto").createHash("sha256").update(password).digest("hex"));
    '
{% endif %}
}

is_hash() {
    case $1 in
    *"$NEWLINE"*) false ;;
    {{ "\$argon2*" if hash == "argon2" else "[0-9a-f]*[0-9a-f]" }}) ;;
    *) false ;;
    esac
}

{% endif %}
# The password as a YAML text in double quotes, without the blanks at its ends.
# Of the control characters (bytes 00 to 1f and 7f, U+0080 to U+009f) only the
# tab can be written so.
plain() {
    ! printf '%s' "$token" | od -An -v -tx1 | tr -d ' \n' |
        grep -qE '^(..)*(0[0-8a-f]|1.|7f|c2[89])' ||
        die "a password with control characters can only be kept as a hash"
{% if hash == "sha256" %}
    case $token in
    *=*) die "code-server 3.8 reads a plain password only up to its first =: choose another" ;;
    esac
{% endif %}
    printf '"'
    printf '%s' "$token" |
        LC_ALL=C sed "s/^[[:blank:]]*//; s/[[:blank:]]*\$//; s/[\\\\\"]/\\\\&/g; s/$(printf '\t')/\\\\t/g"
    printf '"'
}

if [ -n "$plain" ]; then
    plain_password=$(plain) || exit 1
    password="password: $plain_password"
{% if hash != "none" %}
else
    hashed=$(printf '%s' "$token" | hash) || hashed=
    is_hash "$hashed" ||
        die "code-server's node cannot hash the password, so nothing was written; --plain keeps it as plain text"
    password="hashed-password: '$hashed'"
{% endif %}
fi

if [ -n "$made" ]; then
    printf '%s\n' "$token" | put_secret "$kept" 0:0 || exit 1
    say "made a password; it is kept in $kept"
else
    # Was made for an earlier configuration.
    rm -f "$kept"
fi

# give HOME OWNER
give() {
    printf 'bind-addr: %s\nauth: password\n%s\ncert: false\n' {{ with.bind | default("127.0.0.1:5000") | sh }} "$password" |
        put_secret "$1/.config/code-server/config.yaml" "$2" || exit 1
}

give "${root_home:-/root}" 0:0
user=$(cat /etc/sysconfig/tcuser 2>/dev/null) || user=tc
home=$(account "$user" 6)
if [ -n "$home" ]; then
    give "$home" "$(account "$user" 3):$(account "$user" 4)"
else
    say "there is no user $user: wrote root's only"
fi
say "the editor reads this when it starts: /usr/local/etc/init.d/vscodeonline restart"
