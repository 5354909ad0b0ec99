# shellcheck shell=sh
# What the user's login shell reads.

PATH=$HOME/.local/bin:$PATH
# busybox's prompt, which its shell expands.
# shellcheck disable=SC2025
PS1='\u@\h:\w\$ '
export PATH PS1
