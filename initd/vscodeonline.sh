#!/bin/sh
# {{ name }}: the editor in the browser, code-server ({{ extension }} {{ version }}).
#
# Where it listens and with which password is said in its configuration, which
# makevscodeconfig writes. It is always given by its full name: without one
# code-server looks in a place that depends on its surroundings, finds nothing,
# and listens on 8080, which is the gateway's.
{## Values of the recipe (`with`), all optional:
  user          who runs it: root, as the founding text has it (the editor's
                terminal can then build images), or a user such as tc
  home          that user's home (/root, or /home/USER)
  args          further arguments of code-server
  timeout       seconds that it may take to answer (300)
  stop_timeout  seconds that it may take to end (30) ##}

{% include "lib/service.sh" %}

{% set user = with.user | default("root") %}
USER_HOME={{ with.home | default("/root" if user == "root" else "/home/" ~ user) | sh }}
PROGRAMS="code-server"
CONFIG=$USER_HOME/.config/code-server/config.yaml
ADDRESS=$(sed -n 's/^bind-addr: *"\{0,1\}\([^" ]*\).*/\1/p' "$CONFIG" 2>/dev/null)
ANSWER="http://$(echo "$ADDRESS" | sed 's/^0\.0\.0\.0:/127.0.0.1:/; s/^\[::\]:/127.0.0.1:/')/healthz"
TIMEOUT={{ with.timeout | default(300) }}
# It gives itself up ("timed out") if its own second process takes longer than 10
# seconds to load, which it may from a CD. The next try finds the files in memory, and
# what node compiled of them in this folder: that took half of the time.
COMPILED=$USER_HOME/.cache/code-server/compiled

answers() {
    [ -n "$ADDRESS" ] && answers_http "$ANSWER"
}

needs() {
    [ -r "$CONFIG" ] || die "there is no $CONFIG: make one with $INIT_D/makevscodeconfig"
    [ -n "$ADDRESS" ] || die "$CONFIG has no line such as \`bind-addr: 127.0.0.1:5000\`"
}

{% if persistent %}
prepare() {
{% for path in persistent %}
    mkdir -p {{ path | sh }}
{% endfor %}
}

{% endif %}
{% set args %}{% for arg in with.args | default([]) %} {{ arg | sh }}{% endfor %}{% endset %}
run() {
    cd "$USER_HOME" || exit
    export HOME="$USER_HOME" CONFIG NODE_COMPILE_CACHE="$COMPILED"
{% if user == "root" %}
    exec setsid code-server --config "$CONFIG"{{ args }}
{% else %}
    # shellcheck disable=SC2016 # for the shell that su starts
    exec setsid su -s /bin/sh -c {{ ('exec code-server --config "$CONFIG"' ~ args) | sh }} {{ user | sh }}
{% endif %}
}

service "$@"
