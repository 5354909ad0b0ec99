#!/bin/sh
# {{ name }}: turns functions into containers, for faasd's gateway
# ({{ extension }} {{ version }}).
#
# Does by hand what `faasd install`, which wants systemd, does for this daemon:
# its directories and the gateway's user and password.
{## Values of the recipe (`with`), all optional:
  config        where the shipped resolv.conf.orig lies (/usr/local/etc/faasd)
  pull_policy   IfNotPresent (the default: an image of the box is used as it
                is) or Always
  guard         whether to close the daemon's port, which is open to every
                network and lets anyone call any function, and the functions'
                own addresses to all but the box itself (true)
  args          further arguments of `faasd provider`
  timeout       seconds that it may take to answer (120)
  stop_timeout  seconds that it may take to end (30) ##}

{% include "lib/service.sh" %}

PROGRAMS="faasd iptables ctr"
PORT=8081
ANSWER="http://127.0.0.1:$PORT/healthz"
STATE=/var/lib/faasd
SECRETS=$STATE/secrets
WORK=/var/lib/faasd-provider
SHIPPED={{ with.config | default("/usr/local/etc/faasd") | sh }}
# In faasd's own service file for 0.19.0 (0.10.2 knows only the first two).
export secret_mount_path=$SECRETS basic_auth=true hosts_dir=$STATE

answers() {
    answers_http "$ANSWER"
}

needs() {
    [ -x /opt/cni/bin/bridge ] ||
        die "the network plugins are missing in /opt/cni/bin: load the extension that brings them (cni-plugins)"
    need_containerd
}

{% include "lib/secret.sh" %}

# The core services run as nobody (65534, docker-compose.yaml) and read these
# through bind mounts, so they are nobody's; on the box only root gets into the
# directory.
make_secret() {
    [ ! -e "$SECRETS/$1" ] || return 0
    (umask 077 && cat >"$SECRETS/.$1.new") &&
        chown 65534:65534 "$SECRETS/.$1.new" &&
        mv "$SECRETS/.$1.new" "$SECRETS/$1"
}

make_secrets() {
    mkdir -p "$SECRETS" && chmod 700 "$SECRETS" || return 1
    [ -e "$SECRETS/basic-auth-password" ] ||
        say "made a password for the user admin; it is kept in $SECRETS/basic-auth-password"
    printf admin | make_secret basic-auth-user &&
        random_password 63 | make_secret basic-auth-password
}

{% if with.guard | default(true) %}
# guard -I|-D: adds or removes the rules that keep other machines out: from the
# provider's port, and from functions (the box forwards, so that a neighbour
# could route to them).
guard() {
    rule "$1" iptables INPUT -p tcp --dport "$PORT" ! -i openfaas0 ! -d 127.0.0.0/8 -j DROP
    rule "$1" iptables FORWARD ! -i openfaas0 -o openfaas0 -m conntrack --ctstate NEW -j DROP
    # The port is open over IPv6, too.
    [ ! -e /proc/net/if_inet6 ] || ! command -v ip6tables >/dev/null ||
        rule "$1" ip6tables INPUT -p tcp --dport "$PORT" ! -i lo -j DROP
}

# rule -I|-D PROGRAM CHAIN RULE...: once, however often it is asked for.
rule() {
    action=$1 program=$2
    shift 2
    if "$program" -C "$@" 2>/dev/null; then
        [ "$action" = -I ] || "$program" "$action" "$@"
    else
        [ "$action" = -D ] || "$program" "$action" "$@" ||
            warn "cannot close port $PORT: $program $action $*"
    fi
}

ended() {
    guard -D
}

{% endif %}
prepare() {
    mkdir -p "$WORK/secrets" && chmod 700 "$WORK/secrets" || return 1
{% for path in persistent %}
    mkdir -p {{ path | sh }}
{% endfor %}
    make_secrets || return 1
    [ -e "$STATE/resolv.conf" ] || cp "$SHIPPED/resolv.conf.orig" "$STATE/resolv.conf" || return 1
{% if with.guard | default(true) %}
    guard -I
{% endif %}
}

run() {
    cd "$WORK" || exit
    exec setsid faasd provider --pull-policy={{ with.pull_policy | default("IfNotPresent") | sh }}
        {%- for arg in with.args | default([]) %} {{ arg | sh }}{% endfor +%}
}

# The daemon has just written resolv.conf anew (8.8.8.8). In 0.10.2 functions
# get that one; give them the box's. The file stays the same one: it is mounted.
ready() {
    cat "$STATE/resolv.conf" >"$WORK/resolv.conf"
}

service "$@"
