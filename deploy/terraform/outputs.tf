locals {
  api_host = length(var.client_cidrs) > 0 ? module.controller.public_ip : module.controller.private_ip
  fleet_file = {
    format        = 1
    fleet         = var.fleet
    account_id    = var.account_id
    partition     = data.aws_partition.this.partition
    owner         = var.owner
    expires_at    = var.expires_at
    bucket        = local.bucket
    bucket_region = var.controller.region
    controller = {
      endpoint   = "${var.control == "public" ? module.controller.public_ip : module.controller.private_ip}:5557"
      api        = "${local.api_host}:5558"
      public_key = var.controller_public_key
      region     = var.controller.region
    }
    policy = {
      max_agents     = var.max_agents
      max_hourly_usd = var.max_hourly_usd
      ttl_s          = var.ttl_s
      min_share      = var.min_share
    }
    regions = {
      for name, one in module.region : name => {
        asg             = one.asg
        launch_template = one.launch_template
        security_group  = one.security_group
        subnets         = one.subnets
        instance_types  = var.regions[name].instance_types
        usd_per_hour    = { for type in var.regions[name].instance_types : type => local.usd_per_hour[name][type] }
        max_agents      = var.regions[name].max_agents
        egress_ips      = one.egress_ips
      }
    }
    target_cidrs     = var.target_cidrs
    i_own_the_target = var.i_own_the_target
    prices_as_of     = local.prices.as_of
  }
}

output "fleet_json" {
  description = "The file for `loadgen fleet`: terraform output -raw fleet_json > fleet.json"
  value       = jsonencode(local.fleet_file)
}

output "asgs" {
  description = "The group of agents, by region."
  value       = { for name, one in module.region : name => one.asg }
}

output "security_groups" {
  description = "The agents' security group, by region."
  value       = { for name, one in module.region : name => one.security_group }
}

output "egress_ips" {
  description = "The agents' public addresses by region, for allow-lists; empty if egress_ips is none."
  value       = { for name, one in module.region : name => one.egress_ips }
}

output "bucket" {
  description = "The bucket for bundles, wheels, enrolment and results."
  value       = local.bucket
}

output "controller" {
  description = "The addresses for agents and clients, and the controller's machine."
  value = {
    endpoint    = local.fleet_file.controller.endpoint
    api         = local.fleet_file.controller.api
    public_key  = var.controller_public_key
    instance_id = module.controller.instance_id
  }
}

output "secret_key_parameter" {
  description = "The parameter for the controller's secret key, and the key that encrypts it."
  value = {
    name   = module.controller.secret_parameter
    kms    = module.controller.kms_alias
    region = var.controller.region
  }
}

output "hourly_usd" {
  description = "The on-demand price of all agents per hour, USD."
  value       = local.hourly_usd
}
