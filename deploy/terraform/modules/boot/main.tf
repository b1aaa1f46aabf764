# What a machine is told when it starts: files, and one command. The scripts and units are plain files beside this one,
# with nothing in them to fill in, so that they can be read, checked and run as they are. Values are in boot.env.

locals {
  files = {
    "/usr/local/lib/loadgen/boot.sh"                   = { from = "boot.sh", permissions = "0755", of = ["agent", "controller"] }
    "/usr/local/lib/loadgen/role.sh"                   = { from = "${var.role}.sh", permissions = "0644", of = ["agent", "controller"] }
    "/etc/sysctl.d/60-loadgen.conf"                    = { from = "${var.role}-sysctl.conf", permissions = "0644", of = ["agent", "controller"] }
    "/etc/loadgen/fence.nft"                           = { from = "fence.nft", permissions = "0644", of = ["agent"] }
    "/etc/systemd/system/loadgen-fence.service"        = { from = "loadgen-fence.service", permissions = "0644", of = ["agent"] }
    "/etc/systemd/system/loadgen-${var.role}.service"  = { from = "loadgen-${var.role}.service", permissions = "0644", of = ["agent", "controller"] }
  }

  # JSON is YAML, and quotes itself.
  user_data = "#cloud-config\n${jsonencode({
    write_files = concat(
      [{
        path        = "/etc/loadgen/boot.env"
        permissions = "0644"
        content     = join("", [for name, value in merge(var.settings, { ROLE = var.role }) : "${name}='${value}'\n"])
      }],
      [for where, one in local.files : {
        path        = where
        permissions = one.permissions
        content     = file("${path.module}/files/${one.from}")
      } if contains(one.of, var.role)],
    )
    runcmd = [["/usr/local/lib/loadgen/boot.sh"]]
  })}"
}
