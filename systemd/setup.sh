#!/bin/sh
# Installs this checkout as a service, or takes it away again. Called by make install and uninstall.
#
#   PREFIX   where the environment goes                      /opt/metaensemble
#   DESTDIR  put in front of /etc, to look at first          (empty: the machine itself)
#   PYTHON   the interpreter, one outside of home folders    /usr/bin/python3
#
# Every install is a release of its own below PREFIX/releases; PREFIX/venv leads to the newest, so
# that an upgrade is one exchange of a link, and going back is another. Nothing is started, and
# neither configuration nor keys nor state are ever touched.
set -eu

PREFIX=${PREFIX:-/opt/metaensemble}
DESTDIR=${DESTDIR:-}
PYTHON=${PYTHON:-/usr/bin/python3}
RELEASES_KEPT=2
UNITS="metaensemble.service metaensemble@.service metaensemble-guard.service metaensemble-alert@.service"
UNIT_FOLDER=$DESTDIR/etc/systemd/system
here=$(cd "$(dirname "$0")/.." && pwd)

die() { echo "metaensemble: $*" >&2; exit 1; }

is_this_machine() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

make_release() {
  # the file itself, not a name that leads to another version after the next upgrade of the system
  found=$(command -v "$PYTHON" || true)
  [ -z "$found" ] || PYTHON=$(readlink -f "$found")
  case $("$PYTHON" -c 'import sys; print(sys.base_prefix)' 2>/dev/null) in
    '') die "$PYTHON cannot be run; name another: make install PYTHON=/usr/bin/python3" ;;
    /home/* | /root/* | /run/user/*)
      die "$PYTHON lies in a home folder, which the service cannot see; name another with PYTHON=" ;;
  esac
  "$PYTHON" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' ||
    die "$PYTHON is no Python of at least 3.11 with venv (Debian: apt install python3-venv)"
  release=$PREFIX/releases/$(date -u +%Y%m%d-%H%M%S)
  mkdir -p "$PREFIX/releases"
  "$PYTHON" -m venv "$release"
  pip="$release/bin/python -m pip install -qq --disable-pip-version-check --no-input"
  # torch goes first and alone, exactly as pinned, as in make venv
  $pip torch==2.13.0
  $pip -c "$here/constraints.txt" hatchling
  $pip -c "$here/constraints.txt" --no-build-isolation "$here"
  "$release/bin/metaensemble" check >/dev/null || die "the new release does not pass its own check"
  ln -sfn "$release" "$PREFIX/venv.new"
  mv -T "$PREFIX/venv.new" "$PREFIX/venv"
  ls -1d "$PREFIX"/releases/* | head -n -$RELEASES_KEPT | while read -r old; do rm -rf "$old"; done
}

install_all() {
  make_release
  mkdir -p "$UNIT_FOLDER" "$DESTDIR/etc/sysusers.d" "$DESTDIR/etc/tmpfiles.d"
  for unit in $UNITS; do
    sed "s,/opt/metaensemble/,$PREFIX/,g" "$here/systemd/$unit" >"$UNIT_FOLDER/$unit"
    chmod 0644 "$UNIT_FOLDER/$unit"
  done
  install -m 0644 "$here/systemd/sysusers.conf" "$DESTDIR/etc/sysusers.d/metaensemble.conf"
  install -m 0644 "$here/systemd/tmpfiles.conf" "$DESTDIR/etc/tmpfiles.d/metaensemble.conf"
  if is_this_machine; then
    systemd-sysusers /etc/sysusers.d/metaensemble.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/metaensemble.conf
    systemctl daemon-reload
  fi
  echo "Installed in $PREFIX; units in $UNIT_FOLDER. Nothing was started. Next:"
  echo "  write /etc/metaensemble/main.yaml; $PREFIX/venv/bin/metaensemble check /etc/metaensemble/main.yaml"
  echo "  echo 'METAENSEMBLE_ARGS=--config /etc/metaensemble/main.yaml' > /etc/metaensemble/environment"
  echo "  systemctl enable --now metaensemble   (or, after an upgrade: systemctl restart metaensemble)"
}

uninstall_all() {
  if is_this_machine; then
    for unit in $(systemctl list-units --all --plain --no-legend 'metaensemble*' | cut -d' ' -f1); do
      systemctl disable --now "$unit" 2>/dev/null || systemctl stop "$unit"
    done
  fi
  for unit in $UNITS; do rm -f "$UNIT_FOLDER/$unit"; done
  rm -f "$DESTDIR/etc/sysusers.d/metaensemble.conf" "$DESTDIR/etc/tmpfiles.d/metaensemble.conf"
  rm -rf "$PREFIX/venv" "$PREFIX/releases"
  rmdir "$PREFIX" 2>/dev/null || true
  if is_this_machine; then systemctl daemon-reload; fi
  echo "Gone: $PREFIX and the units. Kept, and yours to delete: /etc/metaensemble (configuration),"
  echo "/etc/credstore/metaensemble* (keys), /var/lib/metaensemble* (journal, models, latch)."
}

case ${1:-} in
  install) install_all ;;
  uninstall) uninstall_all ;;
  *) die "usage: $0 install|uninstall" ;;
esac
