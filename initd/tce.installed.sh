#!/bin/sh
# Runs as root once {{ extension }} {{ version }} is loaded: makes what is written at run
# time and therefore is not shipped. At boot this comes before the backup is
# restored, so what is there afterwards may be older: nothing relies on it alone.
{## Values of the recipe (`with`), all optional:
  lib64  whether to make the /lib64 link, for programs made elsewhere (false) ##}
{% if libraries %}

/sbin/ldconfig 2>/dev/null
{% endif %}
{% if with.lib64 | default(false) %}

[ -e /lib64 ] || [ -L /lib64 ] || ln -s lib /lib64
{% endif %}
{% if persistent %}

mkdir -p{% for path in persistent %} {{ path | sh }}{% endfor +%}
{% endif %}

exit 0
