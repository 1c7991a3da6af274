# shellcheck shell=bash disable=SC2031
# A Debian with systemd as its first process, in namespaces, for tests of what is installed. Nothing of this machine's
# own is touched.
#
# Sourced by scripts that have changed to the root of the source tree; where this cannot be, it ends them with 77. What
# they call: unpack, start, inside, and to judge until_so, is, fail. `work` is a folder of theirs.

# shellcheck source=cross/debian.sh
. cross/debian.sh

# Seconds that anything may take which is expected to happen. Generous: the machine may be busy.
deadline=120

((EUID == 0)) || cannot "it makes root file systems and runs what is in them, for which it must be root"
unshare --mount --pid --net --uts --ipc --cgroup --fork true 2>/dev/null ||
    cannot "namespaces are not allowed in here"
[[ $(. /etc/os-release && echo "$ID-$VERSION_ID") == debian-12 ]] || cannot "it takes a Debian 12"
need mmdebstrap procps iproute2
work=${CARGO_TARGET_DIR:-$PWD/target}/$(basename "$0")
mkdir -p "$work"

# The first process of what is booted; ending it ends all of it.
init=
# shellcheck disable=SC2329 # called by the trap
clean_up() {
    [[ -z $init ]] || kill -KILL "$init" 2>/dev/null || true
    wait
    [[ -z ${group:-} ]] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
}
trap clean_up EXIT

fail() {
    echo "$(basename "$0"): $*" >&2
    if [[ $init ]]; then
        cat "$work/boot.log" >&2
        inside journalctl --unit porthole --no-pager --lines 40 >&2 || true
    fi
    exit 1
}

# until_so WHAT COMMAND... -- tries the command until it succeeds.
until_so() {
    local what=$1 end=$((SECONDS + deadline))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "not within $deadline s: $what"
        sleep 0.1
    done
}

# is WHAT ACTUAL EXPECTED
is() {
    [[ $2 == "$3" ]] || fail "$1 is ${2@Q}, not ${3@Q}"
}

# The mirrors of this machine, as mmdebstrap takes them.
sources() {
    apt-get indextargets --format "deb [signed-by=$keyring] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
        'Created-By: Packages' 'Origin: Debian' | grep ' bookworm' | sort -u
}

# Becomes the first process of the system in $1. Runs in namespaces of its own.
# shellcheck disable=SC2329 # called by name, elsewhere
boot() {
    local root=$1 node
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs tmpfs "$root/run"
    ip link set lo up
    cd "$root" || exit
    mkdir -p .outside
    pivot_root . .outside
    umount -l /.outside
    export container=porthole
    exec /lib/systemd/systemd --log-target=journal --show-status=no
}

# inside COMMAND... -- runs it in the booted system.
inside() {
    nsenter --target "$init" --all "$@"
}

# Whether what is started at boot has been, whether all of it could be or not.
is_up() {
    [[ $(inside systemctl is-system-running) == @(running|degraded) ]]
}

# unpack ROOT -- a new system there, which can be reached by ssh once it is booted; made once for all.
unpack() {
    local made=${work%/*}/booted.tar
    if [[ ! -e $made ]]; then
        sources | mmdebstrap --quiet --variant=minbase \
            --include=systemd,systemd-sysv,udev,openssh-server,dropbear-bin,sudo bookworm "$made.$$.tar" -
        mv "$made.$$.tar" "$made"
    fi
    rm -rf "$1"
    mkdir "$1"
    tar -x -f "$made" -C "$1" --exclude='./dev/*'
    echo porthole-test >"$1/etc/hostname"
    # This machine's devices are not for it to set up.
    ln -s /dev/null "$1/etc/systemd/system/systemd-udev-trigger.service"
}

# start ROOT -- boots it.
start() {
    local unshared
    # Under a control group of its own, which is the root of those it sees.
    group=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET) || cannot "there is no cgroup2"
    group=$group/porthole-test-$$
    mkdir "$group" || cannot "no control groups can be made in here"
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        exec unshare --mount --pid --net --uts --ipc --cgroup --fork --propagation private \
            bash -euc "$(declare -f boot); boot \"\$1\"" boot "$1" >"$work/boot.log" 2>&1
    ) &
    unshared=$!
    until_so "the system boots" pgrep --parent "$unshared"
    init=$(pgrep --parent "$unshared")
    until_so "systemd is up" is_up
}

# property NAME -- of the unit.
property() {
    inside systemctl show --property "$1" --value porthole
}

# Whether it has journalled that.
has_said() {
    # Read to its end: a reader that left early would be the writer's failure.
    inside journalctl --unit porthole --output cat --no-pager | grep -- "$1" >/dev/null
}
