#!/usr/bin/env bash
# Turn a new Amazon Linux 2023 machine into an agent or a controller of a fleet.
#
# cloud-init runs it once; to run it again does no harm. It ends with the tag loadgen:boot = ready. If a step fails, it
# prints the step on the console and sets the tag to failed, and an agent ends itself.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/loadgen/boot.env
export AWS_DEFAULT_REGION="$REGION" AWS_RETRY_MODE=adaptive AWS_MAX_ATTEMPTS=8

readonly HOME_DIR=/opt/loadgen
readonly IMDS=http://169.254.169.254/latest
step="begin"

say() { printf 'loadgen: %s\n' "$*"; }

imds() {
  local token
  token=$(curl -sSf --retry 5 --retry-connrefused -X PUT "$IMDS/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
  curl -sSf --retry 5 -H "X-aws-ec2-metadata-token: $token" "$IMDS/meta-data/$1"
}

tag_boot() { aws ec2 create-tags --resources "$instance" --tags "Key=loadgen:boot,Value=$1"; }

on_exit() {
  local status=$?
  [ "$status" -eq 0 ] && return
  say "the start failed with status $status at: $step" | tee /dev/console || true
  [ -n "${instance:-}" ] && { tag_boot failed || true; }
  if [ "$ROLE" = agent ] && [ "$KEEP_FAILED" != yes ]; then
    shutdown -h now # which terminates: the launch template says so
  fi
  exit "$status"
}
trap on_exit EXIT

# Before anything that can fail or hang: when this machine ends, whatever becomes of it. An agent ends at a fixed time,
# also when it was restarted in between; a controller is stopped so long after each start, and keeps its disk.
time_to_live() {
  local when
  if [ "$ROLE" = agent ]; then
    [ -s /etc/loadgen/ends-at ] || date -u -d "+$TTL_S seconds" '+%Y-%m-%d %H:%M:%S UTC' > /etc/loadgen/ends-at
    when="OnCalendar=$(cat /etc/loadgen/ends-at)
Persistent=true"
  else
    when="OnBootSec=$TTL_S"
  fi
  cat > /etc/systemd/system/loadgen-end.service <<END
[Unit]
Description=Shut down this machine, whose time to live has ended
[Service]
Type=oneshot
ExecStart=/usr/sbin/shutdown -h +1 "loadgen: the time to live is over"
END
  cat > /etc/systemd/system/loadgen-end.timer <<END
[Unit]
Description=The end of this machine's time to live
[Timer]
$when
AccuracySec=1s
[Install]
WantedBy=timers.target
END
  systemctl daemon-reload
  systemctl enable --now loadgen-end.timer
}

# What a person may still have to put there: an agent finds it at once or ends, a controller waits for half an hour.
patiently() {
  local tries=$PATIENCE
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 10
  done
}

# An address of the fleet that nobody has. Two machines may reach for the same one: --no-allow-reassociation lets one of
# them win, and the other tries the next.
take_address() {
  local address
  [ -z "$(aws ec2 describe-addresses --filters "Name=instance-id,Values=$instance" \
    --query 'Addresses[].AllocationId' --output text)" ] || return 0
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    for address in $(aws ec2 describe-addresses --filters "Name=tag:loadgen:fleet,Values=$FLEET" Name=tag:loadgen:role,Values=agent \
      --query 'Addresses[?AssociationId==null].AllocationId' --output text); do
      aws ec2 associate-address --instance-id "$instance" --allocation-id "$address" --no-allow-reassociation && return
    done
    sleep $((RANDOM % 5 + 1))
  done
  say "no fixed address is free"
  return 1
}

users() {
  getent passwd loadgen > /dev/null || useradd --system --home-dir /var/lib/loadgen --shell /usr/sbin/nologin loadgen
  getent passwd scenario > /dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin scenario
  install -d -m 0750 -o loadgen -g loadgen /var/lib/loadgen
}

# Nothing comes from the internet: wheels from the bucket, each checked by the hash that the list has of it, and the list
# by its own hash, which these user data have.
install_loadgen() {
  local from="s3://$BUCKET/wheelhouse/$WHEELHOUSE"
  [ "$(cat "$HOME_DIR/installed" 2> /dev/null)" = "$WHEELHOUSE" ] && return
  install -d -m 0755 "$HOME_DIR" "$HOME_DIR/wheels"
  patiently aws s3 cp --only-show-errors "$from/requirements.txt" "$HOME_DIR/requirements.txt"
  echo "$WHEELHOUSE  $HOME_DIR/requirements.txt" | sha256sum --check --status || {
    say "requirements.txt is not the one whose sha256 was asked for"
    return 1
  }
  patiently aws s3 cp --only-show-errors "$from/wheels.tar" "$HOME_DIR/wheels.tar"
  tar -xf "$HOME_DIR/wheels.tar" -C "$HOME_DIR/wheels" --no-same-owner
  rm -rf "$HOME_DIR/venv"
  python3.12 -m venv "$HOME_DIR/venv"
  "$HOME_DIR/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-cache-dir \
    --find-links "$HOME_DIR/wheels" --require-hashes --requirement "$HOME_DIR/requirements.txt"
  rm -rf "$HOME_DIR/wheels" "$HOME_DIR/wheels.tar"
  echo "$WHEELHOUSE" > "$HOME_DIR/installed"
}

# Runs, and still does after the time in which what is wrong with it would have ended it.
start() {
  systemctl daemon-reload
  systemctl enable --now "$1"
  sleep 10
  systemctl is-active --quiet "$1" && [ "$(systemctl show --property NRestarts --value "$1")" = 0 ] && return
  say "$1 does not stay up:"
  journalctl --unit "$1" --lines 20 --no-pager --output cat || true
  return 1
}

# shellcheck source=/dev/null
. /usr/local/lib/loadgen/role.sh

step="time to live" && time_to_live
step="metadata" && instance=$(imds instance-id)
step="packages" && dnf install --quiet --assumeyes python3.12 "${PACKAGES[@]}"
step="users" && users
step="kernel settings" && sysctl --quiet --load=/etc/sysctl.d/60-loadgen.conf
step="installation" && install_loadgen
step="$ROLE" && become
step="tag" && tag_boot ready
say "ready after $(cut -d. -f1 /proc/uptime) s"
