# One region: at most twenty agents with fixed addresses, and the controller in the same region.

provider "aws" {
  region              = "eu-west-1"
  allowed_account_ids = [var.account_id]
}

module "loadgen" {
  source = "../.."

  fleet                 = var.fleet
  account_id            = var.account_id
  owner                 = var.owner
  expires_at            = var.expires_at
  wheelhouse            = var.wheelhouse
  controller_public_key = var.controller_public_key
  target_cidrs          = var.target_cidrs
  allow                 = file("${path.module}/allow.toml")

  controller = {
    region = "eu-west-1"
  }

  regions = {
    "eu-west-1" = { cidr = "10.1.0.0/16", max_agents = 20, egress_ips = "nat" }
  }
}
