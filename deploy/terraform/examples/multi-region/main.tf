# Three regions with different egress: private targets, one address for all agents, one fixed address per agent.

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
  cost_center           = "4711"
  wheelhouse            = var.wheelhouse
  controller_public_key = var.controller_public_key
  target_cidrs          = var.target_cidrs
  allow                 = file("${path.module}/allow.toml")
  target_ports          = [443]
  max_agents            = 40
  max_hourly_usd        = 15
  min_share             = 0.9

  controller = {
    region = "eu-west-1"
  }

  regions = {
    "eu-west-1" = {
      cidr       = "10.1.0.0/16"
      max_agents = 20
      egress_ips = "nat"
    }
    "us-east-1" = {
      cidr              = "10.2.0.0/16"
      max_agents        = 12
      egress_ips        = "eip"
      on_demand_base    = 2
      on_demand_percent = 25
    }
    "ap-southeast-2" = {
      cidr           = "10.3.0.0/16"
      max_agents     = 4
      instance_types = ["c7i.2xlarge", "c6in.2xlarge"]
    }
  }

  budget = {
    monthly_usd = 500
    emails      = ["performance@shop.example"]
  }
}
