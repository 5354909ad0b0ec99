#!/bin/sh
# tcforge-modules: loads what Tiny Core's own kernel has built in, so that its boot
# scripts count on it, and another kernel may have as modules. init runs this
# before anything else.

[ -f /proc/cmdline ] || mount /proc
for module in isofs vfat ext4; do
    modprobe -q "$module" 2>/dev/null
done
