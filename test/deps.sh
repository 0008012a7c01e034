#!/bin/sh
# Installs what the tests need besides Go, as Debian packages it: PostgreSQL and OpenSSH's server, which the tests alone start, and, for root, the tools that make
# networks and file systems (iproute2, nftables, e2fsprogs). Without them, and without the means to install them, set ROTA_TEST_NO_POSTGRES=1,
# ROTA_TEST_NO_SSHD=1 or ROTA_TEST_NO_NETNS=1: then their tests say so and are left out.
set -eu
missing=
if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 && [ "${ROTA_TEST_NO_POSTGRES:-}" != 1 ]; then
	missing="postgresql"
fi
if [ ! -x /usr/sbin/sshd ] && [ "${ROTA_TEST_NO_SSHD:-}" != 1 ]; then
	missing="$missing openssh-server"
fi
if [ "$(id -u)" = 0 ] && [ "${ROTA_TEST_NO_NETNS:-}" != 1 ]; then
	PATH="$PATH:/usr/sbin:/sbin"
	command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
	command -v nft >/dev/null 2>&1 || missing="$missing nftables"
	command -v mkfs.ext4 >/dev/null 2>&1 || missing="$missing e2fsprogs"
fi
[ -n "$missing" ] || exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if ! command -v apt-get >/dev/null 2>&1; then
	echo "missing: $missing, and there is no apt-get: install the programs, or set ROTA_TEST_NO_POSTGRES=1, ROTA_TEST_NO_SSHD=1 and ROTA_TEST_NO_NETNS=1" >&2
	exit 1
fi
echo "installing $missing, which the tests start on their own" >&2
$sudo apt-get update -q >/dev/null
# The cluster and the server that the packages would set up and start are not needed.
$sudo mkdir -p /etc/postgresql-common /etc/ssh
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
[ -e /etc/ssh/sshd_config ] || $sudo touch /etc/ssh/sshd_not_to_be_run
# shellcheck disable=SC2086 # they are words
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $missing >/dev/null
