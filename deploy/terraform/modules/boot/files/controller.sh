# shellcheck shell=bash disable=SC2034,SC2154  # read by boot.sh, which has what is used here
# What is particular to a controller.

PACKAGES=()
PATIENCE=180 # times 10 s

readonly KEYS=/var/lib/loadgen/keys
readonly LOADGEN="$HOME_DIR/venv/bin/loadgen"

as_loadgen() { runuser -u loadgen -- "$@"; }

# A person puts the secret key into its parameter, maybe after this machine was made.
secret_key() {
  aws ssm get-parameter --name "/loadgen/$FLEET/controller/secret-key" --with-decryption --query Parameter.Value \
    --output text | as_loadgen sh -c "umask 077 && cat > $KEYS/controller.key.new"
}

fetch_key() {
  [ -s "$KEYS/controller.key" ] && return
  as_loadgen install -d -m 0700 "$KEYS" "$KEYS/agents"
  patiently secret_key
  mv "$KEYS/controller.key.new" "$KEYS/controller.key"
}

# It is associated some seconds after the machine is there.
fixed_address() {
  for _ in $(seq 60); do
    imds public-ipv4 2> /dev/null && return
    sleep 2
  done
  say "this machine has no public address"
  return 1
}

become() {
  local public
  public=$(fixed_address)
  fetch_key
  if [ ! -s "$KEYS/api/server.crt" ]; then
    # Clients come to one of these, through a tunnel to localhost.
    as_loadgen "$LOADGEN" api cert "$KEYS" localhost 127.0.0.1 "$(imds local-ipv4)" "$public"
  fi
  # Without a token there is no API beyond loopback. This one stays here, for whoever comes in by Session Manager.
  if [ ! -s /var/lib/loadgen/admin.token ]; then
    as_loadgen sh -c "umask 077 && $LOADGEN api token $KEYS admin --role admin > /var/lib/loadgen/admin.token"
  fi
  aws s3 cp --only-show-errors "$KEYS/api/server.crt" "s3://$BUCKET/bootstrap/server.crt"
  start loadgen-controller.service
}
