#!/bin/sh
# Runs the main job where there is next to nothing: a bare Debian with Python and make, the packages
# installed beforehand, no servers, no package manager and no network, not even to itself.
#
#   tools/minimal_root.sh [FOLDER]     FOLDER is made anew; build/minimal-root unless named.
#
# Needs root, debootstrap, a mirror of Debian and a package index.
set -eu
cd "$(dirname "$0")/.."
root=${1:-build/minimal-root}
suite=bookworm
bare() { env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

if [ -e "$root" ]; then
    echo "$root is there already: remove it, or name another folder." >&2
    exit 2
fi
echo "Making a bare $suite in $root …"
mkdir -p "$root"
debootstrap --variant=minbase --include=python3,python3-venv,make "$suite" "$root" > "$root.log" 2>&1

echo "Installing the packages …"
version=$(bare chroot "$root" python3 -c 'import platform; print(platform.python_version())')
site=$root/usr/local/lib/python${version%.*}/dist-packages
.venv/bin/uv pip install --quiet --python-version "$version" --target "$site" \
    --require-hashes --requirement requirements.lock
mkdir -p "$root/srv/cifra_jobs"
git archive HEAD | tar -x -C "$root/srv/cifra_jobs"
rm -f "$root"/usr/bin/apt* "$root"/usr/bin/dpkg*

echo "make run, without a network:"
bare unshare --net --pid --fork chroot "$root" make -C /srv/cifra_jobs run > "$root.out" 2>&1 || {
    cat "$root.out"
    exit 1
}
cat "$root.out"
grep -q "embedded default" "$root.out" || {
    echo "It did not say that it ran on the embedded default." >&2
    exit 1
}
