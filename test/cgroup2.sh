#!/bin/sh
# Runs the tests of control groups, of runs and of the guard on a kernel whose version 2 has all controllers, as root, in an emulated machine: a
# Debian kernel with a small Debian in memory, and nothing but version 2 mounted. Needs root, Debian's packages and 3 GiB of memory; takes some
# ten minutes. No KVM is needed. What the machine said is in LOG.
#
#   make cgroup2 [RELEASE=bookworm]
set -eu

release=${RELEASE:-bookworm}
packages="internal/cgroup internal/runner internal/guard"
root=$(cd "$(dirname "$0")/.." && pwd)
log=${LOG:-/tmp/rota-cgroup2.log}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

apt-get update -q >/dev/null
for tool in qemu-system-x86_64:qemu-system-x86 cpio:cpio debootstrap:debootstrap; do
	command -v "${tool%:*}" >/dev/null || apt-get install -qq -y --no-install-recommends "${tool#*:}" >/dev/null
done
[ -e /usr/share/seabios/bios-256k.bin ] || apt-get install -qq -y --no-install-recommends seabios >/dev/null

cd "$work"
mkdir kernel
chmod 755 .
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' | head -1)
apt-get download -qq "$package" 2>/dev/null
dpkg-deb -x linux-image-*.deb kernel
debootstrap --variant=minbase --include=procps "$release" system >debootstrap.log 2>&1 || {
	tail debootstrap.log >&2
	exit 1
}
rm -rf system/var/cache/apt/* system/var/lib/apt/lists/* system/usr/share/doc system/usr/share/locale system/usr/share/man
mkdir system/tests
for p in $packages; do
	(cd "$root" && CGO_ENABLED=0 go test -c -o "$work/system/tests/$(basename "$p")" "./$p")
done

cat >system/init <<'EOF'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
echo "Linux $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
failed=0
for t in /tests/*; do
	mkdir -p /work/$(basename $t)
	cd /work/$(basename $t)
	if $t -test.v -test.timeout 30m >/tmp/log 2>&1; then
		echo "ok   $(basename $t): $(grep -c '^--- PASS' /tmp/log) passed"
	else
		echo "FAIL $(basename $t)"
		cat /tmp/log
		failed=$((failed + 1))
	fi
	grep -E -A3 '^ *--- SKIP' /tmp/log
done
echo "packages that failed: $failed"
sync
echo o >/proc/sysrq-trigger
sleep 60
EOF
chmod 755 system/init
(cd system && find . | cpio -o -H newc --quiet) >system.cpio

timeout 3600 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 -display none -no-reboot -nodefaults -serial stdio \
	-kernel kernel/boot/vmlinuz-* -initrd system.cpio -append 'console=ttyS0 quiet panic=-1 rdinit=/init' </dev/null 2>&1 | tee "$log"
grep -q 'packages that failed: 0' "$log"
