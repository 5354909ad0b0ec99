#!/bin/sh
# {{ name }}: the image builder's daemon ({{ extension }} {{ version }}).
{## Values of the recipe (`with`), all optional:
  config        where the shipped configuration lies
                (/usr/local/etc/buildkit/buildkitd.toml.orig)
  args          further arguments of buildkitd
  timeout       seconds that it may take to answer (120)
  stop_timeout  seconds that it may take to end (30) ##}

{% include "lib/service.sh" %}

PROGRAMS="buildkitd buildctl ctr"
ANSWER="buildctl debug workers"
CONFIG=/etc/buildkit/buildkitd.toml
SHIPPED={{ with.config | default("/usr/local/etc/buildkit/buildkitd.toml.orig") | sh }}

SOCKET=/run/buildkit/buildkitd.sock

answers() {
    [ -S "$SOCKET" ] && ask buildctl debug workers
}

needs() {
    need_containerd
}

# A build that was cut off leaves the container of its RUN step behind. It has
# no image, and faasd lists no functions as long as one like that is in their
# namespace. Before buildkitd runs there is no build, so all of them are waste.
sweep_containers() {
    namespace=$(sed -n 's/^ *namespace *= *"\([^"]*\)".*/\1/p' "$CONFIG" 2>/dev/null | head -n 1)
    [ -n "$namespace" ] || return 0
    timeout 20 ctr -n "$namespace" containers ls 2>/dev/null |
        awk 'NR > 1 && $2 == "-" { print $1 }' |
        while read -r container; do
            say "removing $container, which an interrupted build left"
            timeout 20 ctr -n "$namespace" tasks rm -f "$container" >/dev/null 2>&1
            timeout 20 ctr -n "$namespace" containers rm "$container" >/dev/null 2>&1
        done
}

prepare() {
    mkdir -p /etc/buildkit
    [ -e "$CONFIG" ] || cp "$SHIPPED" "$CONFIG" || return 1
{% for path in persistent %}
    mkdir -p {{ path | sh }}
{% endfor %}
    remove_dead_socket "$SOCKET"
    sweep_containers
}

run() {
    exec setsid buildkitd --config "$CONFIG"{% for arg in with.args | default([]) %} {{ arg | sh }}{% endfor +%}
}

service "$@"
