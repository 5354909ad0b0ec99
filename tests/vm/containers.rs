//! What containers can count on, whichever kernel it is that runs them.

use crate::appliance::{Booted, IMAGE, SCRIPT};

/// QEMU's end of the machine's network: it answers a ping and nothing else.
const OUTSIDE: &str = "10.0.2.2";

/// By a CNI bridge, with NAT by iptables. Debian's ctr calls no plugins, so they
/// are called here as <https://github.com/containernetworking/cni> 0.4.0 says.
pub(crate) fn reach_each_other_and_out(booted: &mut Booted) {
    let printed = booted.sh(&format!(
        r#"
        set -e
        conf='{{ "cniVersion": "0.4.0", "name": "test", "type": "bridge", "bridge": "test0",
            "isGateway": true, "ipMasq": true,
            "ipam": {{ "type": "host-local", "subnet": "10.99.0.0/16", "routes": [{{ "dst": "0.0.0.0/0" }}] }} }}'
        cni() {{
            pid=$(ctr task ls | awk -v name="$2" '$1 == name {{ print $2 }}')
            echo "$conf" | CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/proc/$pid/ns/net CNI_IFNAME=eth0 \
                CNI_PATH=/opt/cni/bin /opt/cni/bin/bridge
        }}
        ask() {{
            ctr task exec --exec-id ask client /bin/busybox sh -c \
                "n=0; until busybox $* </dev/null || [ \$n = 60 ]; do busybox sleep 1; n=\$((n + 1)); done"
        }}
        ctr run -d {IMAGE} server /bin/busybox nc -ll -p 7000 -e /bin/busybox echo hello >/dev/null
        ctr run -d {IMAGE} client /bin/busybox sleep 100000 >/dev/null
        address=$(cni ADD server | sed -n 's/.*"address": "\([0-9.]*\)\/.*/\1/p')
        cni ADD client >/dev/null
        ask nc "$address" 7000
        echo "$address"
        # An answer comes back only to the machine's own address.
        ask ping -c 1 -W 5 {OUTSIDE} | grep -o '^64 bytes from {OUTSIDE}'
        iptables -t nat -S | grep -c "POSTROUTING -s $address.* -j CNI-"
        iptables -t nat -S | grep -c -- '-j MASQUERADE'
        iptables -t nat -vxnL | awk '$3 == "MASQUERADE" {{ packets += $1 }} END {{ print (packets > 0) }}'
        cni DEL server
        cni DEL client
        iptables -t nat -S | grep -c -- '-j CNI-' || true
        "#
    ));
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], "hello", "{printed}");
    assert!(lines[1].starts_with("10.99."), "{printed}");
    assert_eq!(lines[2], format!("64 bytes from {OUTSIDE}"), "{printed}");
    // A rule for each container, which packets went through, and none once they
    // are gone.
    assert_eq!(lines[3..], ["1", "2", "1", "0"], "{printed}");
}

/// What does not fit is killed, and what fits is not.
pub(crate) fn a_memory_limit_holds(booted: &mut Booted) {
    let takes = "busybox head -c 67108864 /dev/zero | busybox tail -c 67108864 | busybox wc -c";
    let run = |limit: &str| format!("ctr run --rm {limit} {IMAGE} eater /bin/busybox sh -c '{takes}'");
    assert_eq!(booted.sh(&run("")).trim(), "67108864");
    let limited = booted.guest.run(&run("--memory-limit 33554432"), SCRIPT).unwrap();
    assert!(
        limited.text.contains("Killed"),
        "the limit did not hold: {}",
        limited.text
    );
    let killed = booted.sh("dmesg | grep -c 'Memory cgroup out of memory'");
    assert_ne!(killed.trim(), "0");
}

/// A container that does nothing but compute is made to wait for its next turn.
pub(crate) fn a_cpu_limit_holds(booted: &mut Booted) {
    let printed = booted.sh(&format!(
        r#"
        set -e
        ctr run -d --memory-limit 33554432 --cpus 0.1 {IMAGE} busy /bin/busybox sh -c 'while :; do :; done' >/dev/null
        group=$(awk -F: '$2 == "cpu" {{ print $3 }}' "/proc/$(ctr task ls | awk '$1 == "busy" {{ print $2 }}')/cgroup")
        cat "/sys/fs/cgroup/memory$group/memory.limit_in_bytes"
        cat "/sys/fs/cgroup/cpu$group/cpu.cfs_period_us" "/sys/fs/cgroup/cpu$group/cpu.cfs_quota_us"
        until grep -q '^nr_throttled [1-9]' "/sys/fs/cgroup/cpu$group/cpu.stat"; do usleep 100000; done
        ctr task kill -s SIGKILL busy
        until ctr task ls | grep -q '^busy .*STOPPED'; do usleep 100000; done
        ctr container rm busy
        "#
    ));
    assert_eq!(printed, "33554432\n100000\n10000\n");
}
