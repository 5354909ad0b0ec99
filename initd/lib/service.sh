# ---- common to all services (initd/lib/service.sh) ---------------------------
#
# A service includes this, then defines
#   PROGRAMS   the commands that must be there
#   ANSWER     in words: what shows that it answers
#   run        becomes the daemon (exec)
#   answers    succeeds once the daemon does its work
# and, where it has to,
#   needs      brings up what it stands on (may take long)
#   prepare    makes what the daemon needs (quick; one at a time)
#   ready      runs once it answers
#   ended      runs after a stop
#   hopeless   succeeds if the daemon lives, and will never answer
#   nobody_answers  succeeds if nothing is in the daemon's place
# and ends with: service "$@"
#
# /etc/default/NAME is read last: TIMEOUT, STOP_TIMEOUT, LOG_INTERVAL (seconds),
# LOG_LIMIT (bytes) and what else the script sets can be changed there.

NAME={{ name | sh }}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

INIT_D=/usr/local/etc/init.d
PID_FILE=/var/run/$NAME.pid
# When the process with that pid began: tells it from a later one that was
# given the same number.
SINCE_FILE=/var/run/$NAME.since
LOCK_FILE=/var/run/$NAME.lock
LOG=/var/log/$NAME.log
LOG_LIMIT=1048576
LOG_INTERVAL=60
TIMEOUT={{ with.timeout | default(120) }}
STOP_TIMEOUT={{ with.stop_timeout | default(30) }}
# How often a daemon that ends by itself before it answers is started.
TRIES=1

# shellcheck disable=SC2317 # a service replaces those that it has use for
{
    needs() { :; }
    prepare() { :; }
    ready() { :; }
    ended() { :; }
    hopeless() { false; }
    nobody_answers() { ! answers; }
}

say() {
    echo "$NAME: $*"
}

warn() {
    echo "$NAME: $*" >&2
}

die() {
    warn "$@"
    exit 1
}

# Seconds since the kernel started: goes on evenly when the clock is set.
uptime_seconds() (
    read -r up _ </proc/uptime
    echo "${up%%.*}"
)

pause() {
    sleep 0.2 2>/dev/null || sleep 1
}

# wait_for SECONDS COMMAND...: asks until the command succeeds.
wait_for() {
    wait_until=$(($(uptime_seconds) + $1))
    shift
    until "$@"; do
        [ "$(uptime_seconds)" -lt "$wait_until" ] || return 1
        pause
    done
}

# Runs a question that must not hang.
ask() {
    timeout 10 "$@" >/dev/null 2>&1
}

# answers_http URL: whatever proxy the daemon may use, this is not for it.
answers_http() (
    unset http_proxy HTTP_PROXY all_proxy ALL_PROXY
    ask wget -q -O /dev/null "$1"
)

CONTAINERD_SOCKET=/run/containerd/containerd.sock

containerd_answers() {
    [ -S "$CONTAINERD_SOCKET" ] && ask ctr --connect-timeout 5s version
}

# A killed daemon leaves its socket, and clients would wait for it.
remove_dead_socket() {
    grep -qF "$1" /proc/net/unix || rm -f "$1"
}

# need SERVICE: starts another service of the box, unless it runs.
need() {
    [ -x "$INIT_D/$1" ] ||
        die "needs $1, and there is no $INIT_D/$1: load the extension (tce-load -i $1)"
    "$INIT_D/$1" start || die "needs $1, which did not start"
}

need_containerd() {
    containerd_answers || need containerd
}

# The clock tick in which a live process began: field 22 of its stat, counted
# from behind the name, which may hold anything.
began_at() (
    # No program is started for this: it is asked several times at a start. Of a name
    # with a line break, the rest fits nothing.
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086 # to be split into its fields
    set -- ${stat##*) }
    case $1 in Z | X) return 1 ;; esac
    echo "${20}"
)

# same_process PID SINCE
same_process() {
    [ -n "$2" ] && [ "$(began_at "$1")" = "$2" ]
}

# The pid of our daemon, if it lives.
daemon_pid() (
    pid='' since=''
    [ ! -r "$PID_FILE" ] || read -r pid <"$PID_FILE"
    [ ! -r "$SINCE_FILE" ] || read -r since <"$SINCE_FILE"
    case $pid in '' | *[!0-9]*) return 1 ;; esac
    same_process "$pid" "$since" && echo "$pid"
)

forget() {
    rm -f "$PID_FILE" "$SINCE_FILE"
}

# One start or stop at a time: whoever makes this link, which names the process
# and when it began, so that one left by a killed script is known as such.
take_lock() {
    ln -s "$$ $(began_at $$)" "$LOCK_FILE" 2>/dev/null && return
    holder=$(readlink "$LOCK_FILE") || return
    same_process "${holder% *}" "${holder#* }" || rm -f "$LOCK_FILE"
    return 1
}

lock() {
    wait_for "$((TIMEOUT + STOP_TIMEOUT))" take_lock ||
        die "another start or stop of $NAME is under way (pid ${holder% *})"
}

unlock() {
    rm -f "$LOCK_FILE"
}

keep_old_log() (
    umask 027
    [ ! -s "$LOG" ] || mv -f "$LOG" "$LOG.old"
    : >"$LOG"
)

# /var/log is memory: while the daemon lives, cut its log when it is too long.
limit_log() {
    trap '' HUP
    while sleep "$LOG_INTERVAL" && same_process "$1" "$2"; do
        [ "$(wc -c <"$LOG")" -gt "$LOG_LIMIT" ] || continue
        (umask 027 && tail -c "$LOG_LIMIT" "$LOG" >"$LOG.old")
        : >"$LOG"
    done
}

log_end() {
    [ -s "$LOG" ] || return 0
    echo "--- the end of $LOG:" >&2
    tail -n 20 "$LOG" >&2
}

spawn() {
    keep_old_log
    # A background process of a script leads no group, so `exec setsid` in run
    # keeps its pid.
    # exec, because a redirected function or group keeps the old files open too,
    # and whoever reads this script's output through a pipe waits for those.
    (exec </dev/null >>"$LOG" 2>&1 && cd / && run) &
    child=$!
    since=$(began_at "$child") || since=gone
    echo "$since" >"$SINCE_FILE"
    echo "$child" >"$PID_FILE"
    (exec </dev/null >/dev/null 2>&1 && limit_log "$child" "$since") &
}

start_daemon() {
    lock
    daemon_pid >/dev/null || launch
    unlock
}

launch() {
    [ ! -e "$PID_FILE" ] || say "removing the stale $PID_FILE"
    forget
    prepare || die "could not be prepared"
    # What was killed a moment ago may still be letting go.
    wait_for 5 nobody_answers ||
        die "something that this script did not start answers already ($ANSWER): stop that first"
    spawn
}

# start_again NUMBER: not what somebody has stopped meanwhile, and so forgotten.
start_again() {
    lock
    if [ ! -e "$PID_FILE" ]; then
        unlock
        return 1
    fi
    daemon_pid >/dev/null || {
        say "ended before it answered: starts it once more ($1 of $TRIES)"
        forget
        launch
    }
    unlock
}

answers_or_ended() {
    answers || ! daemon_pid >/dev/null || end_hopeless
}

# It may be started once more then, but not without end.
end_hopeless() {
    [ "$TRIES" -lt 3 ] || return 1
    hopeless_pid=$(daemon_pid) && hopeless || return 1
    say "will not answer any more: ends it"
    lock
    # Another start may have done so, and launched the next one.
    [ "$(daemon_pid)" != "$hopeless_pid" ] || end_daemon "$hopeless_pid"
    unlock
    TRIES=$((TRIES + 1))
}

await_answer() {
    wait_for "$TIMEOUT" answers_or_ended || {
        warn "runs, but does not answer after $TIMEOUT seconds ($ANSWER)"
        log_end
        exit 1
    }
}

start() {
    if ! daemon_pid >/dev/null; then
        for program in $PROGRAMS; do
            command -v "$program" >/dev/null ||
                die "the program $program is missing: load the extension that brings it"
        done
        needs
        start_daemon
    fi
    await_answer
    try=1
    until pid=$(daemon_pid); do
        try=$((try + 1))
        if [ "$try" -gt "$TRIES" ] || ! start_again "$try"; then
            warn "ended before it answered ($ANSWER)"
            log_end
            # Another start may have launched one meanwhile.
            lock
            daemon_pid >/dev/null || forget
            unlock
            exit 1
        fi
        await_answer
    done
    ready
    say "runs (pid $pid) and answers"
}

# For /opt/bootlocal.sh: comes back at once and tells later, in a file.
start_in_background() {
    (exec </dev/null >"/var/log/$NAME.start" 2>&1 && exec setsid /bin/sh "$0" start) &
    say "starting; the outcome will be in /var/log/$NAME.start"
}

gone() {
    ! same_process "$1" "$2"
}

# end_daemon PID
end_daemon() {
    read -r since <"$SINCE_FILE"
    kill -TERM "$1"
    wait_for "$STOP_TIMEOUT" gone "$1" "$since" || {
        warn "did not end within $STOP_TIMEOUT seconds: killing it"
        kill -KILL "-$1" 2>/dev/null || kill -KILL "$1"
        wait_for 10 gone "$1" "$since" || die "pid $1 cannot be killed"
    }
}

stop() {
    lock
    if pid=$(daemon_pid); then
        end_daemon "$pid"
        say "stopped"
    else
        say "is not running"
    fi
    forget
    ended
    unlock
}

# Exit status as the Linux Standard Base has it: 0 runs, 1 dead but its pid
# file is there, 3 does not run, 4 does not answer.
status() {
    if pid=$(daemon_pid); then
        if answers; then
            say "runs (pid $pid) and answers"
        else
            say "runs (pid $pid), but does not answer ($ANSWER)"
            exit 4
        fi
    elif [ -e "$PID_FILE" ]; then
        say "is not running, but left $PID_FILE"
        exit 1
    else
        say "is not running"
        exit 3
    fi
}

usage() {
    cat >&2 <<EOF
usage: $0 start [--no-wait] | stop | restart | status
  --no-wait  (or TCFORGE_NOWAIT=1) comes back at once and starts in the background
EOF
    exit 1
}

service() {
    case $# in
    1) ;;
    2) [ "$1 $2" = "start --no-wait" ] || usage ;;
    *) usage ;;
    esac
    case $1 in
    start | stop | restart | status) ;;
    *) usage ;;
    esac
    [ "$(id -u)" -eq 0 ] || die "must be root: sudo $0 $*"
    # shellcheck source=/dev/null
    [ ! -r "/etc/default/$NAME" ] || . "/etc/default/$NAME"
    case $1 in
    start)
        if [ -n "${2:-}" ] || [ -n "${TCFORGE_NOWAIT:-}" ]; then
            unset TCFORGE_NOWAIT
            start_in_background
        else
            start
        fi
        ;;
    stop) stop ;;
    restart)
        stop
        start
        ;;
    status) status ;;
    esac
}
# ---- end of the common part --------------------------------------------------
