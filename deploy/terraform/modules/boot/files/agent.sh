# shellcheck shell=bash disable=SC2034,SC2154  # read by boot.sh, which has what is used here
# What is particular to an agent.

PACKAGES=(nftables)
PATIENCE=3 # times 10 s

become() {
  systemctl daemon-reload
  systemctl enable --now loadgen-fence.service
  if [ "$EGRESS_IPS" = eip ]; then
    take_address
  fi
  start loadgen-agent.service
}
