# shellcheck shell=bash
# Debian's own packages as a toolchain for another architecture: no Docker, no rustup, nothing but apt.
#
# Sourced by scripts that build for ARM, after they have changed to the root of the source tree. Debian's newest
# Rust is rustc-web; the standard library of that same release is packaged for every architecture Debian has, but
# cannot be installed beside this machine's own, so it is unpacked into a sysroot under target/.

# What fails in a function whose output is taken fails the script.
shopt -s inherit_errexit

# Everything that is downloaded or unpacked stays here and is used again.
cache=${CARGO_TARGET_DIR:-$PWD/target}/debian

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# What a script exits with that was not able to do its work here, and says why: neither success nor failure.
readonly CANNOT=77

# cannot WHY
cannot() {
    echo "$(basename "$0"): not on this machine: $*" >&2
    exit "$CANNOT"
}

# need PACKAGE... -- installs what is missing, or says how to.
need() {
    scripts/needs "$@" >&2 || die "some of these packages are missing: $*"
}

# for_target TRIPLE -- what the target is called by those who have a say in it. Sets: target arch gnu rust packages
for_target() {
    target=$1
    case $target in
        aarch64-unknown-linux-gnu) arch=arm64 gnu=aarch64-linux-gnu ;;
        armv7-unknown-linux-gnueabihf) arch=armhf gnu=arm-linux-gnueabihf ;;
        x86_64-unknown-linux-gnu) arch=amd64 gnu=x86_64-linux-gnu ;;
        *) die "$target is none of aarch64-unknown-linux-gnu, armv7-unknown-linux-gnueabihf, x86_64-unknown-linux-gnu" ;;
    esac
    # Package lists of some age have a Rust that is too old.
    local minimum
    minimum=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
    rust=("rustc-web>=$minimum" "cargo-web>=$minimum")
    if [[ $arch == "$(dpkg --print-architecture)" ]]; then
        packages=("${rust[@]}" cmake make gcc g++ libc6-dev)
    else
        packages=("${rust[@]}" cmake make "gcc-${gnu//_/-}" "g++-${gnu//_/-}" "libc6-dev-$arch-cross")
    fi
    # libjpeg-turbo has its vector code for this processor in the assembler's language.
    [[ $arch != amd64 ]] || packages+=(nasm)
}

# The release of Debian that packages are taken of; this machine's own if it is empty.
suite=

# debs -- where packages of that release are kept.
debs() {
    echo "$cache/debs${suite:+-$suite}"
}

# sources COMPONENT -- this machine's own mirrors, with the lists of `suite`. What a release lacks that is newer is in its
# backports, which apt takes only of packages that are asked for with a version.
sources() {
    local own
    own=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
    apt-get indextargets --format "deb [signed-by=$keyring] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
        'Created-By: Packages' 'Origin: Debian' | sed "s/ [^ ]*$/ $1/" |
        if [[ $suite ]]; then
            sed -n "s/ $own\(-updates\|-security\|-backports\|\) / $suite\1 /p" | sed "/ $suite /{p; s/ $suite / $suite-backports /}"
        else
            cat
        fi | sort -u
}

# foreign ARCH COMMAND... -- runs an apt command as if this machine were of that architecture, with lists of its
# own and this machine's own mirrors. Nothing of the system's configuration is touched.
foreign() {
    local arch=$1 apt=$cache/apt-$1${suite:+-$suite}
    shift
    if [[ ! -e $apt/apt.conf ]]; then
        mkdir -p "$apt"/{lists,archives}/partial "$(debs)"
        sources main >"$apt/sources.list"
        [[ -s $apt/sources.list ]] || die "apt knows no Debian mirror; run apt-get update"
        cat >"$apt/apt.conf.new" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::Cache "$apt";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::State::status "/dev/null";
CONF
        mv "$apt/apt.conf.new" "$apt/apt.conf"
    fi
    APT_CONFIG=$apt/apt.conf "$@"
}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# deb ARCH PACKAGE[=VERSION] -- the path of a package of another architecture, downloaded if it is not there yet.
deb() {
    local name=${2%%=*} version=${2#*=} found
    [[ $2 == *=* ]] || version=
    # As apt writes it in file names.
    version=${version//:/%3a}
    found=$(newest_deb "$1" "$name" "$version")
    if [[ -z $found ]]; then
        mkdir -p "$(debs)"
        # Lists that are there already are good enough, unless they are not.
        if ! (cd "$(debs)" && foreign "$1" apt-get -qq download "$2" >/dev/null 2>&1); then
            foreign "$1" apt-get -qq update >&2 || echo "apt's lists for $1 are not all up to date" >&2
            (cd "$(debs)" && foreign "$1" apt-get -qq download "$2" >&2) ||
                die "apt has no $2 for $1 (its messages are above); a mirror in the middle of an update heals by itself"
        fi
        found=$(newest_deb "$1" "$name" "$version")
        [[ $found ]] || die "apt downloaded $2 for $1, and it is not in $(debs)"
    fi
    echo "$found"
}

# newest_deb ARCH NAME [VERSION] -- what there is of it already, for this architecture or for all; nothing if there is none.
newest_deb() {
    { compgen -G "$(debs)/$2_${3:-*}_$1.deb" || compgen -G "$(debs)/$2_${3:-*}_all.deb" || true; } |
        sort -V | tail -1
}

# stock_kernel -- the directory of Debian's arm64 kernel, unpacked. It is the one that is newest when this is asked for
# the first time; deleting target/debian gets another.
stock_kernel() {
    local package name kernel
    package=$(compgen -G "$cache/debs/linux-image-*_arm64.deb" | sort -V | tail -1) || true
    if [[ -z $package ]]; then
        foreign arm64 apt-get -qq update >&2 || true
        name=$(foreign arm64 apt-cache depends linux-image-arm64 | awk '/Depends: linux-image-/ { print $2; exit }')
        package=$(deb arm64 "${name:?apt does not say which kernel linux-image-arm64 is}")
    fi
    kernel=$cache/$(basename "$package" .deb)
    if [[ ! -e $kernel ]]; then
        rm -rf "$kernel.new"
        dpkg-deb -x "$package" "$kernel.new"
        depmod -b "$kernel.new" "$(ls "$kernel.new/lib/modules")"
        mv "$kernel.new" "$kernel"
    fi
    echo "$kernel"
}

# newer_kernel -- the directory of the kernel of the release's backports, unpacked: that of the release itself has no
# drivers for the plugs of a Raspberry Pi 5. It is the one that is newest when this is asked for the first time.
newer_kernel() {
    local package kernel_release there part
    package=$(newest_deb arm64 'linux-binary-*-arm64')
    if [[ $package ]]; then
        kernel_release=${package##*/linux-binary-}
        kernel_release=${kernel_release%%_*}
    else
        foreign arm64 apt-get -qq update >&2 || true
        kernel_release=$(foreign arm64 apt-cache depends "linux-image-arm64/$suite-backports" |
            sed -n 's/.*Depends: linux-image-\([0-9].*\)/\1/p' | head -1)
        [[ $kernel_release ]] || die "apt does not say which kernel linux-image-arm64 of $suite-backports is"
    fi
    there=$cache/linux-$kernel_release
    if [[ ! -e $there ]]; then
        rm -rf "$there.new"
        for part in base binary modules; do
            package=$(deb arm64 "linux-$part-$kernel_release")
            dpkg-deb -x "$package" "$there.new"
        done
        ln -s usr/lib "$there.new/lib"
        depmod -b "$there.new" "$kernel_release"
        mv "$there.new" "$there"
    fi
    echo "$there"
}

# newer_emulator -- QEMU of the release, as a program for this machine, with the libraries of that release. Fails on machines other
# than amd64, and where it is not to be had.
newer_emulator() {
    local there=$cache/qemu-$suite package name names
    [[ $(dpkg --print-architecture) == amd64 ]] || return
    if [[ ! -e $there ]]; then
        rm -rf "$there.new"
        mkdir -p "$there.new"
        foreign amd64 apt-get -qq update >&2 || true
        # Failures are passed on by hand, as bash does not end a function that is called in a condition.
        names=$(foreign amd64 apt-get -qq install --simulate --no-install-recommends qemu-system-arm |
            sed -n 's/^Inst \([^ ]*\) .*/\1/p') && [[ $names ]] || return
        for name in $names; do
            package=$(deb amd64 "${name%:amd64}") && dpkg-deb -x "$package" "$there.new" || return
        done
        cat >"$there.new/qemu-system-aarch64" <<'PROGRAM'
#!/bin/sh
here=$(dirname "$0")
exec "$here/usr/lib64/ld-linux-x86-64.so.2" --library-path "$here/usr/lib/x86_64-linux-gnu" \
    "$here/usr/bin/qemu-system-aarch64" -L "$here/usr/share/qemu" "$@"
PROGRAM
        chmod +x "$there.new/qemu-system-aarch64"
        mv "$there.new" "$there"
    fi
    echo "$there/qemu-system-aarch64"
}

# sysroot -- a directory for rustc's --sysroot with the target's standard library. Call for_target before.
sysroot() {
    local version root
    version=$(dpkg-query -W -f '${Version}' rustc-web)
    root=$cache/sysroot-$arch-$version
    if [[ ! -e $root ]]; then
        local package
        package=$(deb "$arch" "libstd-rust-web-dev=$version")
        rm -rf "$root.new"
        mkdir -p "$root.new/lib"
        dpkg-deb --fsys-tarfile "$package" |
            tar -x -C "$root.new" --strip-components=2 --wildcards "./usr/lib/rustlib/$target"
        mv "$root.new" "$root"
    fi
    echo "$root"
}

# toolchain [FLAG...] -- points cargo, rustc, cc and cmake at the target; the flags are rustc's. Call for_target
# before. cmake needs no toolchain file: the cmake crate tells it system, processor and compilers from these.
toolchain() {
    [[ $(. /etc/os-release && echo "$ID-$VERSION_ID") == debian-12 ]] || cannot "it takes rustc-web, of Debian 12"
    need "${packages[@]}"
    local root upper=${target//-/_}
    root=$(sysroot)
    export "CC_$upper=$gnu-gcc" "CXX_$upper=$gnu-g++" "AR_$upper=$gnu-ar"
    upper=${upper^^}
    export "CARGO_TARGET_${upper}_LINKER=$gnu-gcc" "CARGO_TARGET_${upper}_RUSTFLAGS=--sysroot=$root $*"
    # Somebody's flags for this machine are none for that one, and would replace those above.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS RUSTUP_TOOLCHAIN
    export RUSTC=/usr/bin/rustc
    # Read by whoever sources this.
    # shellcheck disable=SC2034
    cargo=/usr/bin/cargo
}
