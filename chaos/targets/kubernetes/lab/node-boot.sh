#!/bin/sh
# Furnishes a machine of the lab whenever it gets power: what a computer's own start would do.
# CHAOSGATE_NODE, _FOLDER (its own files), _GROUP (its cgroup), _ADDRESSES (name=address …) say where it is.
set -eu
PATH=$PATH:/usr/sbin:/sbin

own() { # a folder of the machine's own, in a peer group of its own: in that of /, each mount would be seen twice
	mkdir -p "$1"
	mount --bind "$1" "$2"
	mount --make-private "$2"
	mount --make-shared "$2"
}

mount --make-rshared /
own "$CHAOSGATE_FOLDER/var-lib" /var/lib
own "$CHAOSGATE_FOLDER/var-log" /var/log
mount -t tmpfs tmpfs /run
mkdir -p /run/lock "$CHAOSGATE_FOLDER/cni" /run/cni/net.d
mount --bind "$CHAOSGATE_FOLDER/cni" /run/cni/net.d

# A kubelet insists on these settings, and would write those of the machine that the lab runs on.
mkdir -p "$CHAOSGATE_FOLDER/sys"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
	kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
	file="$CHAOSGATE_FOLDER/sys/$(echo "${setting%=*}" | tr / .)"
	echo "${setting#*=}" > "$file"
	mount --bind "$file" "/proc/sys/${setting%=*}"
done

# What the last boot left: a power cut takes the kernel's state, but here the network outlives the machine.
ip link del cni0 2> /dev/null || true
nft flush ruleset
for hierarchy in /sys/fs/cgroup/*/ /sys/fs/cgroup/; do # a runtime is asked for 3 s about each that is left
	[ -d "$hierarchy$CHAOSGATE_GROUP" ] || continue
	find "$hierarchy$CHAOSGATE_GROUP" -mindepth 1 -depth -type d ! -name servers -exec rmdir {} + 2> /dev/null || true
done

echo 1 > /proc/sys/net/ipv4/ip_forward
for place in $CHAOSGATE_ADDRESSES; do
	name=${place%=*} address=${place#*=}
	case $name in
	"$CHAOSGATE_NODE" | control) ;;
	node*) ip route replace "10.200.${name#node}.0/24" via "$address" ;;
	esac
done
