# ---- common to the makers of configuration files (initd/lib/maker.sh) --------
#
# No secret ever is an argument of a program (`ps` shows those to everybody) or
# in a message: they travel in variables and pipes. printf and [ are builtins.

NAME={{ name | sh }}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
# Were they in the environment, they would stay there.
unset answer token password auth

NEWLINE='
'
RETURN=$(printf '\r')

say() {
    echo "$NAME: $*"
}

die() {
    echo "$NAME: $*" >&2
    exit 1
}

# Leaves what the person answers in `answer`, to the letter; empty at the end
# of the input.
ask() {
    printf '%s' "$1" >&2
    IFS= read -r answer || :
}

# The same, unseen. A terminal is put back whatever happens.
ask_secretly() {
    if [ -t 0 ]; then
        terminal=$(stty -g)
        trap 'stty "$terminal"' EXIT
        trap 'exit 130' HUP INT TERM
        stty -echo
        ask "$1"
        stty "$terminal"
        trap - EXIT HUP INT TERM
        echo >&2
    else
        ask "$1"
    fi
}

# read_secret FILE: all of it but a line break at its end, into `answer`. The
# file - is the input.
read_secret() {
    [ "$1" = - ] || [ -r "$1" ] || die "cannot read $1"
    answer=$(cat "$1" && echo .) || die "cannot read $1"
    answer=${answer%.}
    answer=${answer%"$NEWLINE"}
}

# one_line WHAT TEXT
one_line() {
    case $2 in
    *"$NEWLINE"* | *"$RETURN"*) die "the $1 has a line break in it, which it cannot have" ;;
    esac
}

# account USER FIELD: 3 the user's number, 4 the group's, 6 the home
account() {
    awk -F: -v user="$1" -v field="$2" '$1 == user { print $field; exit }' /etc/passwd
}

make_directory() {
    if [ -n "$1" ] && [ ! -d "$1" ]; then
        make_directory "${1%/*}" "$2" && mkdir "$1" && chown "$2" "$1"
    fi
}

# A second name leaves FILE in place; not every file system has them.
keep_old() {
    [ -e "$1" ] || return 0
    rm -f "$1.bak"
    ln "$1" "$1.bak" 2>/dev/null || mv "$1" "$1.bak" || return 1
    chmod 600 "$1.bak"
    say "kept the old $1 as $1.bak"
}

# put_secret FILE OWNER: takes the content from its input. There is the old file
# or the new one, never half of one; the old one is kept as FILE.bak.
put_secret() {
    make_directory "${1%/*}" "$2" || die "cannot make ${1%/*}"
    new=$(mktemp "$1.XXXXXX") || die "cannot write to ${1%/*}"
    if ! { cat >"$new" && chmod 600 "$new" && chown "$2" "$new" && keep_old "$1" && mv -f "$new" "$1"; }; then
        rm -f "$new"
        die "cannot write $1"
    fi
    say "wrote $1"
}

# option "$@": the value of the option in front, whether it came as --name=value
# or as the next argument.
option() {
    case $1 in
    --*=*) printf '%s\n' "${1#*=}" ;;
    *)
        [ $# -ge 2 ] || die "$1 wants a value"
        printf '%s\n' "$2"
        ;;
    esac
}

# other_option "$1": one that a maker does not take itself.
other_option() {
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 1
        ;;
    esac
}

must_be_root() {
    [ "$(id -u)" -eq 0 ] || die "must be root: sudo $0"
}
# ---- end of the common part --------------------------------------------------
