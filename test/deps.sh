#!/bin/sh
# Installs what the tests need besides Go: PostgreSQL, as Debian packages it. Without it, and without the means to install
# it, the tests of PostgreSQL say so and are left out.
set -eu
if ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || [ "${ROTA_TEST_NO_POSTGRES:-}" = 1 ]; then
	exit 0
fi
sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if ! command -v apt-get >/dev/null 2>&1; then
	echo "PostgreSQL's server programs are not here, and there is no apt-get: install them, or set ROTA_TEST_NO_POSTGRES=1" >&2
	exit 1
fi
echo "installing postgresql, which the tests start on their own" >&2
$sudo apt-get update -q >/dev/null
# The cluster that the package would set up and start is not needed.
$sudo mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends postgresql >/dev/null
