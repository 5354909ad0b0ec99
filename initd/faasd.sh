#!/bin/sh
# {{ name }}: the gateway and what belongs to it, as containers
# ({{ extension }} {{ version }}). Starts and stops faasd-provider, too.
{## Values of the recipe (`with`), all optional:
  config        where the shipped docker-compose.yaml.orig and
                prometheus.yml.orig lie (/usr/local/etc/faasd)
  images        directories with container images, as docker save or ctr
                export makes them: DIR/*.tar are the core services',
                DIR/functions/*.tar the functions'
                (/usr/local/share/faasd/images; faasd/images in the tce
                directory is looked through, too)
  gateway       where the gateway answers (http://127.0.0.1:8080)
  timeout       seconds that it may take to answer (300)
  stop_timeout  seconds that it may take to end (180: the core services are
                given up to 30 each) ##}

{% include "lib/service.sh" %}

PROGRAMS="faasd ctr"
GATEWAY={{ with.gateway | default("http://127.0.0.1:8080") | sh }}
ANSWER=$GATEWAY/healthz
TIMEOUT={{ with.timeout | default(300) }}
STOP_TIMEOUT={{ with.stop_timeout | default(180) }}
STATE=/var/lib/faasd
SHIPPED={{ with.config | default("/usr/local/etc/faasd") | sh }}

# Where the gateway's container is, as faasd tells the functions.
gateway_address() {
    sed -n 's/^[[:space:]]*\([0-9.]\{1,\}\)[[:space:]]\{1,\}gateway[[:space:]]*$/\1/p' \
        "$STATE/hosts" 2>/dev/null | tail -n 1
}

gateway_answers() {
    address=$(gateway_address)
    [ -n "$address" ] && answers_http "http://$address:8080/healthz"
}

# faasd's proxy ends for good at the first connection that the gateway does not take
# (pkg/proxy.go: Start returns), and it listens as soon as the container is there. So
# that it is asked only when the gateway itself answers.
answers() {
    gateway_answers && answers_http "$ANSWER"
}

nobody_answers() {
    ! answers_http "$ANSWER"
}

# Somebody else, say an editor's open page, may have asked too early.
hopeless() {
    gateway_answers && nobody_answers && grep -q "nable to dial.* $address:8080" "$LOG"
}

# The core services' containers that have run: `NAME PID SINCE` of each.
note_core() {
    for file in /run/containerd/io.containerd.runtime.v2.task/openfaas/*/init.pid; do
        core_pid=
        { read -r core_pid <"$file"; } 2>/dev/null
        name=${file%/init.pid}
        name=${name##*/}
        case " $core" in *" $name $core_pid "*) continue ;; esac
        ! find_began "$core_pid" || core="$core$name $core_pid $began "
    done
}

ready() {
    core=
    note_core
}

# faasd starts none of them again.
lost() {
    note_core
    # shellcheck disable=SC2086 # words
    set -- $core
    while [ $# -gt 0 ]; do
        same_process "$2" "$3" || {
            why="has lost its core service $1"
            return 0
        }
        shift 3
    done
    return 1
}

# full_name IMAGE: as containerd keeps it.
full_name() {
    case $1 in
    *.*/* | *:*/* | localhost/*) echo "$1" ;;
    */*) echo "docker.io/$1" ;;
    *) echo "docker.io/library/$1" ;;
    esac
}

# The names in an archive's own index, whichever kind it is.
names_in() {
    {
        tar -xOf "$1" index.json 2>/dev/null | sed 's/[,{}]/\n/g' |
            sed -n 's/.*"io.containerd.image.name" *: *"\([^"]*\)".*/\1/p'
        tar -xOf "$1" manifest.json 2>/dev/null | tr '\n' ' ' |
            grep -o '"RepoTags" *: *\[[^]]*]' | sed 's/^"RepoTags"//' |
            grep -o '"[^"]*"' | tr -d '"'
    } | sort -u | while read -r image; do full_name "$image"; done
}

# is_imported NAMESPACE FILE
is_imported() (
    names=$(names_in "$2")
    [ -n "$names" ] || return 1
    have=$(timeout 30 ctr -n "$1" images ls -q) || return 1
    for image in $names; do
        echo "$have" | grep -qxF "$image" || return 1
    done
)

# import NAMESPACE FILE: containerd may be busy starting, so twice.
import() {
    ! is_imported "$1" "$2" || return 0
    say "importing $2"
    ctr -n "$1" images import "$2" >/dev/null && return
    wait_for 60 containerd_answers
    ctr -n "$1" images import "$2" >/dev/null ||
        warn "cannot import $2: what it holds would have to come from a registry"
}

import_images() {
    tce=$(cat /etc/sysconfig/tcedir 2>/dev/null)
    for images in{% for path in with.images | default(["/usr/local/share/faasd/images"]) %} {{ path | sh }}{% endfor %} "${tce:+$tce/faasd/images}"; do
        for file in "$images"/*.tar; do
            [ ! -r "$file" ] || import openfaas "$file"
        done
        for file in "$images"/functions/*.tar; do
            [ ! -r "$file" ] || import openfaas-fn "$file"
        done
    done
}

needs() {
    need faasd-provider
    import_images
}

# faasd cannot remove a core service that does not end when it is asked to:
# left by a killed `faasd up`, it would keep the next one from starting.
remove_containers() {
    containerd_answers || return 0
    timeout 20 ctr -n openfaas containers ls -q 2>/dev/null |
        while read -r container; do
            timeout 20 ctr -n openfaas tasks rm -f "$container" >/dev/null 2>&1
            timeout 20 ctr -n openfaas containers rm "$container" >/dev/null 2>&1
        done
}

prepare() {
    mkdir -p "$STATE"
{% for path in persistent %}
    mkdir -p {{ path | sh }}
{% endfor %}
    for file in docker-compose.yaml prometheus.yml; do
        [ -e "$STATE/$file" ] || cp "$SHIPPED/$file.orig" "$STATE/$file" || return 1
    done
    remove_containers
    # faasd writes it anew, and until then it tells where the last gateway was. In
    # place, because functions have it mounted.
    : >"$STATE/hosts"
}

# It looks for its hosts file here and there: both must be this directory.
run() {
    cd "$STATE" || exit
    exec setsid faasd up
}

ended() {
    remove_containers
    [ ! -x "$INIT_D/faasd-provider" ] || "$INIT_D/faasd-provider" stop
}

service "$@"
