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
#   lost       succeeds if the daemon lives, and has lost what it answered with;
#              sets `why`. Asked every second, so it starts no program.
#   nobody_answers  succeeds if nothing is in the daemon's place
# and ends with: service "$@"
#
# A start leaves a supervisor behind (below), which starts the daemon again when it
# ends, until somebody stops the service.
#
# /etc/default/NAME is read last: the settings (whole seconds; LOG_LIMIT is bytes)
# and what else the script sets can be changed there.

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
# The supervisor's process, as `PID SINCE`.
SUPERVISOR_FILE=/var/run/$NAME.supervisor
# Who writes to this pipe wakes the supervisor.
WAKE_PIPE=/var/run/$NAME.wake
# How often the daemon ended by itself, when it last did, and why.
RESTARTS_FILE=/var/run/$NAME.restarts
LOG=/var/log/$NAME.log
# What the supervisor says, and a start that nobody waits for.
START_LOG=/var/log/$NAME.start
# The box's own, if it keeps one.
BOX_LOG=/var/log/tcforge.log

# May take so long until it answers, and until it has ended.
TIMEOUT={{ with.timeout | default(120) }}
STOP_TIMEOUT={{ with.stop_timeout | default(30) }}
# A start is given up when the daemon has ended so often before it answered.
TRIES=3
# Before it is started again; twice as long each time, up to a limit. One that ran
# so long has proved itself, and begins anew.
RESTART_DELAY=1
RESTART_DELAY_LIMIT=60
RESTART_DELAY_RESET=300
# One that does not answer so often in a row is ended, and started again.
CHECK_INTERVAL=30
CHECK_FAILURES=3
LOG_INTERVAL=60
LOG_LIMIT=1048576

# shellcheck disable=SC2317 # a service replaces those that it has use for
{
    needs() { :; }
    prepare() { :; }
    ready() { :; }
    ended() { :; }
    hopeless() { false; }
    lost() { false; }
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

# Sets `now` to the seconds since the kernel started: they go on evenly when the
# clock is set.
find_now() {
    read -r now _ </proc/uptime
    now=${now%%.*}
}

pause() {
    sleep 0.2 2>/dev/null || sleep 1
}

# wait_for SECONDS COMMAND...: asks until the command succeeds.
wait_for() {
    find_now
    wait_until=$((now + $1))
    shift
    until "$@"; do
        find_now
        [ "$now" -lt "$wait_until" ] || return 1
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

# need SERVICE: starts another service of the box, unless it runs. Not by itself,
# later, what somebody has stopped meanwhile.
need() {
    [ -x "$INIT_D/$1" ] ||
        die "needs $1, and there is no $INIT_D/$1: load the extension (tce-load -i $1)"
    [ -z "$told" ] || [ -e "/var/run/$1.pid" ] || die "needs $1, which is stopped"
    "$INIT_D/$1" start || die "needs $1, which did not start"
}

need_containerd() {
    containerd_answers || need containerd
}

# Sets `began` to the clock tick in which a live process began: field 22 of its
# stat, counted from behind the name, which may hold anything.
find_began() {
    began=
    case $1 in '' | *[!0-9]*) return 1 ;; esac
    # No program and no second shell: it is asked every second. Of a name with a line
    # break, the rest fits nothing.
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086 # to be split into its fields
    set -- ${stat##*) }
    case $1 in Z | X) return 1 ;; esac
    began=${20}
}

# same_process PID SINCE
same_process() {
    [ -n "$2" ] && find_began "$1" && [ "$began" = "$2" ]
}

# process PID SINCE: prints the first, if that process lives.
process() {
    same_process "$1" "$2" && echo "$1"
}

# The pid of our daemon, if it lives.
daemon_pid() (
    pid='' since=''
    [ ! -r "$PID_FILE" ] || read -r pid <"$PID_FILE"
    [ ! -r "$SINCE_FILE" ] || read -r since <"$SINCE_FILE"
    process "$pid" "$since"
)

supervisor_pid() (
    pid='' since=''
    [ ! -r "$SUPERVISOR_FILE" ] || read -r pid since <"$SUPERVISOR_FILE"
    process "$pid" "$since"
)

is_supervised() {
    supervisor_pid >/dev/null
}

forget() {
    rm -f "$PID_FILE" "$SINCE_FILE" "$SUPERVISOR_FILE" "$WAKE_PIPE" "$RESTARTS_FILE"
}

# One start or stop at a time: whoever makes this link, which names the process
# and when it began, so that one left by a killed script is known as such.
take_lock() {
    find_began $$
    ln -s "$$ $began" "$LOCK_FILE" 2>/dev/null && return
    holder=$(readlink "$LOCK_FILE") || return
    same_process "${holder% *}" "${holder#* }" || rm -f "$LOCK_FILE"
    return 1
}

lock() {
    wait_for "$((TIMEOUT + STOP_TIMEOUT))" take_lock || {
        warn "another start or stop of $NAME is under way (pid ${holder% *})"
        return 1
    }
}

unlock() {
    rm -f "$LOCK_FILE"
}

keep_old_log() (
    umask 027
    [ ! -s "$LOG" ] || mv -f "$LOG" "$LOG.old"
    : >"$LOG"
)

# /var/log is memory: logs that are too long are cut.
limit_logs() {
    find "$LOG" "$START_LOG" "$BOX_LOG" -size "+${LOG_LIMIT}c" 2>/dev/null |
        while read -r log; do
            (umask 027 && tail -c "$LOG_LIMIT" "$log" >"$log.old")
            : >"$log"
        done
}

log_end() {
    [ -s "$LOG" ] || return 0
    echo "--- the end of $LOG:" >&2
    tail -n 20 "$LOG" >&2
}

# ---- the supervisor ----------------------------------------------------------
#
# A process of this script, the daemon's parent, so that the kernel tells it how the
# daemon ended. It starts no program as long as nothing happens. Where a start waits
# for it, it has the start's outputs, and tells the outcome on descriptor 3.

# Sleeps so many seconds without a program, or until it is woken.
nap() {
    # shellcheck disable=SC3045 # ash has it
    read -r -t "$1" _ <&5
}

wake() {
    [ ! -p "$WAKE_PIPE" ] || echo 1<>"$WAKE_PIPE"
}

# tell STATUS: how the start came out, once. Who waited for it may be gone.
told=
tell() {
    [ -z "$told" ] || return 0
    told=$1
    trap - EXIT
    (trap '' PIPE && echo "$1" >&3) 2>/dev/null
    exec </dev/null >>"$START_LOG" 2>&1 3>&-
}

# report TEXT: to who waits for the start; later into the logs.
report() {
    report="$(date '+%Y-%m-%d %H:%M:%S') $NAME: $*"
    echo "$report"
    [ -z "$told" ] || [ ! -w "$BOX_LOG" ] || echo "$report" >>"$BOX_LOG"
}

spawn() {
    keep_old_log
    # A background process of a script leads no group, so `exec setsid` in run
    # keeps its pid.
    # exec, because a redirected function or group keeps the old files open too,
    # and whoever reads this script's output through a pipe waits for those.
    (exec </dev/null >>"$LOG" 2>&1 3>&- 5>&- && cd / && run) &
    pid=$!
    find_began "$pid"
    since=${began:-gone}
    child=$pid
    echo "$since" >"$SINCE_FILE"
    echo "$pid" >"$PID_FILE"
}

launch() {
    prepare || {
        warn "could not be prepared"
        return 1
    }
    # What was killed a moment ago may still be letting go.
    wait_for 5 nobody_answers || {
        warn "something that this script did not start answers already ($ANSWER): stop that first"
        return 1
    }
    spawn
}

# Starts the daemon, or takes care of the one whose supervisor was killed.
bring_up() {
    if pid=$(daemon_pid); then
        child=
        read -r since <"$SINCE_FILE"
        return
    fi
    (needs) && lock || return
    launch
    launched=$?
    unlock
    return "$launched"
}

is_alive() {
    same_process "$pid" "$since"
}

# Sets `outcome` of a daemon's start, if there is one.
has_come_out() {
    if ! is_alive; then
        outcome=ended
    elif answers; then
        outcome=answers
    elif hopeless; then
        outcome=hopeless
    else
        outcome=
        return 1
    fi
}

come_out() {
    case $outcome in
    answers)
        ready
        say "runs (pid $pid) and answers"
        tell 0
        ;;
    hopeless) end_because "would not answer any more" ;;
    esac
}

await_answer() {
    wait_for "$TIMEOUT" has_come_out || {
        warn "runs, but does not answer after $TIMEOUT seconds ($ANSWER)"
        log_end
        tell 1
    }
    come_out
}

# What has lost its function is ended, to be started again.
end_because() {
    why=$1
    report "$why: ends it"
    lock || return
    end_daemon "$pid"
    unlock
}

is_due() {
    [ $((seconds % $1)) -eq 0 ]
}

# Whether the daemon answers, or answers at last.
check() {
    if [ "$outcome" != answers ]; then
        ! has_come_out || come_out
    elif answers; then
        failures=0
    else
        failures=$((failures + 1))
        [ "$failures" -lt "$CHECK_FAILURES" ] || end_because "did not answer any more"
    fi
}

# Looks after the daemon until it ends.
watch() {
    failures=0
    while is_alive; do
        nap 1
        seconds=$((seconds + 1))
        ! is_due "$LOG_INTERVAL" || limit_logs
        if [ "$outcome" = answers ] && lost; then
            end_because "$why"
        elif is_due "$CHECK_INTERVAL"; then
            check
        fi
    done
}

# Sets `why` the daemon has ended, unless this script ended it.
find_why() {
    wait "$pid"
    status=$?
    if [ -n "$why" ]; then
        :
    elif [ -z "$child" ]; then
        why="ended, and nobody saw how"
    elif [ "$status" -gt 128 ]; then
        why="was ended by signal $((status - 128))"
    else
        why="ended with exit status $status"
    fi
}

# One life of the daemon, up to its end. Fails if there was none.
live() {
    seconds=0
    why="could not be started (see $START_LOG)"
    bring_up || return
    why=
    await_answer
    watch
    find_why
}

note_end() {
    restarts=$((restarts + 1))
    echo "$restarts $(date '+%Y-%m-%d %H:%M:%S') $why" >"$RESTARTS_FILE"
}

# A start that failed leaves nothing behind.
give_up() {
    lock && forget && unlock
    exit 1
}

back_off() {
    [ "$seconds" -lt "$RESTART_DELAY_RESET" ] || delay=$RESTART_DELAY
    report "$why: starts it again in $delay seconds"
    nap "$delay"
    delay=$((delay * 2))
    [ "$delay" -le "$RESTART_DELAY_LIMIT" ] || delay=$RESTART_DELAY_LIMIT
}

# Becomes the supervisor, unless another start was quicker.
enroll() {
    lock || exit 1
    if is_supervised; then
        unlock
        join
        exit
    fi
    daemon_pid >/dev/null || [ ! -e "$PID_FILE" ] || say "removing the stale $PID_FILE"
    daemon_pid >/dev/null || forget
    rm -f "$WAKE_PIPE"
    mkfifo -m 600 "$WAKE_PIPE" && exec 5<>"$WAKE_PIPE" || exit 1
    find_began $$
    echo "$$ $began" >"$SUPERVISOR_FILE"
    unlock
}

supervise() {
    trap 'tell $?' EXIT
    cd /
    enroll
    restarts=0 delay=$RESTART_DELAY
    [ ! -r "$RESTARTS_FILE" ] || read -r restarts _ <"$RESTARTS_FILE"
    while :; do
        live || [ -n "$told" ] || give_up
        note_end
        if [ -z "$told" ] && [ "$restarts" -ge "$TRIES" ]; then
            warn "ended before it answered ($ANSWER): $why"
            log_end
            give_up
        fi
        back_off
    done
}

# ---- what the script is called for -------------------------------------------

# Leaves a supervisor behind, and comes back with the outcome of the start.
begin() {
    for program in $PROGRAMS; do
        command -v "$program" >/dev/null ||
            die "the program $program is missing: load the extension that brings it"
    done
    exec 4>&1
    { (exec 3>&1 >&4 4>&- && exec setsid /bin/sh "$0" supervise) & } |
        {
            read -r outcome || die "was stopped before it answered"
            exit "$outcome"
        }
}

answers_or_given_up() {
    ! is_supervised || { daemon_pid >/dev/null && answers; }
}

# Waits for what another start has begun, or the supervisor begins again.
join() {
    daemon_pid >/dev/null || wake
    wait_for "$TIMEOUT" answers_or_given_up || {
        warn "does not answer after $TIMEOUT seconds ($ANSWER)"
        log_end
        exit 1
    }
    pid=$(daemon_pid) || die "ended before it answered ($ANSWER)"
    say "runs (pid $pid) and answers"
}

start() {
    if is_supervised; then
        join
    else
        begin
    fi
}

# For /opt/bootlocal.sh: comes back at once and tells later, in a file.
start_in_background() {
    (exec </dev/null >"$START_LOG" 2>&1 && exec setsid /bin/sh "$0" start) &
    say "starting; the outcome will be in $START_LOG"
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
        wait_for 10 gone "$1" "$since" || {
            warn "pid $1 cannot be killed"
            return 1
        }
    }
}

# With what it has called. The daemon leads a group of its own.
end_supervisor() {
    supervisor=$(supervisor_pid) || return 0
    kill -KILL "-$supervisor" 2>/dev/null || kill -KILL "$supervisor"
    rm -f "$SUPERVISOR_FILE"
}

stop() {
    lock || exit 1
    end_supervisor
    if pid=$(daemon_pid); then
        end_daemon "$pid" || exit 1
        say "stopped"
    elif [ -n "$supervisor" ]; then
        say "is not running, and is not started again"
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
    status=3
    if pid=$(daemon_pid); then
        status=0
        if answers; then
            say "runs (pid $pid) and answers"
        else
            say "runs (pid $pid), but does not answer ($ANSWER)"
            status=4
        fi
        is_supervised ||
            say "has no supervisor that would start it again: \`$0 start\` gives it one"
    elif is_supervised; then
        say "is not running, and is about to be started"
    elif [ -e "$PID_FILE" ]; then
        say "is not running, but left $PID_FILE"
    else
        say "is not running"
    fi
    [ "$status" -ne 3 ] || [ ! -e "$PID_FILE" ] || status=1
    tell_restarts
    exit "$status"
}

tell_restarts() {
    [ -r "$RESTARTS_FILE" ] || return 0
    read -r restarts day time why <"$RESTARTS_FILE"
    say "restarts: $restarts (the last on $day at $time, because it $why)"
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
    start | stop | restart | status | supervise) ;;
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
    supervise) supervise ;;
    esac
}
# ---- end of the common part --------------------------------------------------
