# Sourced by ./check and ./demo: installs what is missing on Debian 12, and says nothing when nothing is.
#
#   install_build_deps          what building needs
#   install_test_deps           what the integration and driver tests need besides
#   install_packages NAME...    any other packages
#
# Uses apt-get, with sudo when the caller isn't root. Starts no service. Returns non-zero when something stays missing.

holdfast_build_packages=(
  g++ cmake ninja-build pkg-config openssl libssl-dev libpq-dev libboost1.81-dev libpg-query-dev libyaml-cpp-dev
  libspdlog-dev prometheus-cpp-dev libgtest-dev libgmock-dev libbenchmark-dev
)
holdfast_test_packages=(
  postgresql-15 postgresql-client-15 procps util-linux iproute2 nftables strace valgrind
  python3 python3-psycopg python3-asyncpg openjdk-17-jdk-headless libpostgresql-jdbc-java
  golang-go golang-github-jackc-pgx-v4-dev
)

_holdfast_as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo > /dev/null; then
    sudo "$@"
  else
    echo "This needs root (or sudo): $*" >&2
    return 1
  fi
}

_holdfast_missing() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || echo "$package"
  done
}

install_packages() {
  local missing log no_cluster="" status=0
  missing=$(_holdfast_missing "$@")
  [ -n "$missing" ] || return 0
  if ! command -v apt-get > /dev/null; then
    echo "Missing, and there is no apt-get here (Debian 12 is what this is made for):" $missing >&2
    return 1
  fi
  echo "Installing:" $missing
  log=$(mktemp)
  # Debian's postgresql-15 makes a cluster named main and starts it; tests bring their own.
  if [[ " $missing " == *postgresql-15* && ! -d /etc/postgresql/15/main ]]; then
    no_cluster=/etc/postgresql-common/createcluster.d/holdfast-no-main.conf
    _holdfast_as_root mkdir -p "${no_cluster%/*}" || return 1
    echo "create_main_cluster = false" | _holdfast_as_root tee "$no_cluster" > /dev/null
  fi
  local apt=(env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o DPkg::Lock::Timeout=300)
  { _holdfast_as_root "${apt[@]}" update &&
    _holdfast_as_root "${apt[@]}" install --no-install-recommends $missing; } > "$log" 2>&1 || status=$?
  [ -z "$no_cluster" ] || _holdfast_as_root rm -f "$no_cluster"
  if [ "$status" -ne 0 ]; then
    cat "$log" >&2
    echo "apt-get could not install:" $missing >&2
  fi
  rm -f "$log"
  return "$status"
}

install_build_deps() { install_packages "${holdfast_build_packages[@]}"; }

install_test_deps() {
  local packages=("${holdfast_test_packages[@]}")
  # Debian's nodejs and npm conflict with those of other sources: any node will do.
  command -v node > /dev/null || packages+=(nodejs)
  command -v npm > /dev/null || packages+=(npm)
  install_packages "${packages[@]}"
}
