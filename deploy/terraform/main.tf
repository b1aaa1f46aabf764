locals {
  # One table for the guard here and for the command's. It is of us-east-1; elsewhere counts as dearer than the dearest.
  prices = jsondecode(file("${path.module}/prices.json"))
  usd_per_hour = {
    for name in keys(var.regions) : name => merge(
      { for type, usd in local.prices.usd_per_hour : type => name == "us-east-1" ? usd : usd * local.prices.elsewhere },
      lookup(var.prices, name, {}),
    )
  }
  unpriced   = sort(distinct(flatten([for name, one in var.regions : [for type in one.instance_types : "${type} in ${name}" if !can(local.usd_per_hour[name][type])]])))
  hourly_usd = sum([for name, one in var.regions : one.max_agents * max([for type in one.instance_types : try(local.usd_per_hour[name][type], 0)]...)])

  bucket = "loadgen-${var.fleet}-${var.account_id}"
  tags = merge(
    {
      "loadgen:fleet"   = var.fleet
      "loadgen:owner"   = var.owner
      "loadgen:project" = var.project
    },
    var.cost_center == null ? {} : { "loadgen:cost-center" = var.cost_center },
    var.expires_at == null ? {} : { "loadgen:expires-at" = var.expires_at },
  )
}

data "aws_caller_identity" "this" {
  lifecycle {
    postcondition {
      condition     = self.account_id == var.account_id
      error_message = "The credentials belong to account ${self.account_id}, but account_id is ${var.account_id}. Use other credentials or correct it."
    }
  }
}

data "aws_partition" "this" {}

module "artifacts" {
  source = "./modules/artifacts"

  region        = var.controller.region
  bucket        = local.bucket
  force_destroy = var.force_destroy
  allow         = var.allow
  tags          = local.tags
}

module "iam" {
  source = "./modules/iam"

  fleet                = var.fleet
  account_id           = var.account_id
  bucket               = local.bucket
  wheelhouse           = var.wheelhouse
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}

module "controller" {
  source = "./modules/controller"

  fleet            = var.fleet
  account_id       = var.account_id
  settings         = var.controller
  bucket           = local.bucket
  wheelhouse       = var.wheelhouse
  control          = var.control
  remote_cidrs     = { for name, one in var.regions : name => one.cidr if name != var.controller.region && one.vpc_id == null }
  agent_cidrs      = { for name, one in var.regions : name => one.cidr }
  agent_ips        = { for name, one in module.region : name => one.egress_ips if var.control == "public" }
  client_cidrs     = var.client_cidrs
  instance_profile = module.iam.controller_profile
  role_arn         = module.iam.controller_role_arn
  tags             = merge(local.tags, { "loadgen:role" = "controller" })
}

module "region" {
  source   = "./modules/region"
  for_each = var.regions

  region              = each.key
  fleet               = var.fleet
  settings            = each.value
  control             = var.control
  controller_region   = var.controller.region
  controller_vpc_id   = module.controller.vpc_id
  controller_cidr     = var.controller.cidr
  controller_routes   = module.controller.route_table_id
  controller_ip       = var.control == "public" ? module.controller.public_ip : module.controller.private_ip
  controller_key      = var.controller_public_key
  s3_zone_id          = module.controller.s3_zone_id
  bucket              = local.bucket
  wheelhouse          = var.wheelhouse
  target_cidrs        = var.target_cidrs
  target_ports        = var.target_ports
  ttl_s               = var.ttl_s
  keep_failed         = var.keep_failed
  expires_at          = var.expires_at
  daily_stop          = var.daily_stop
  instance_profile_arn = module.iam.agent_profile_arn
  tags                = merge(local.tags, { "loadgen:role" = "agent" })
}

resource "aws_budgets_budget" "this" {
  count = var.budget == null ? 0 : 1

  name         = "loadgen-${var.fleet}"
  budget_type  = "COST"
  limit_amount = tostring(var.budget.monthly_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"
  tags         = local.tags

  # Counts only once the tag is activated for cost allocation in the billing console.
  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:loadgen:fleet%s%s", "$", var.fleet)]
  }

  dynamic "notification" {
    for_each = { half = 50, most = 80, all = 100 }

    content {
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      notification_type          = notification.key == "all" ? "FORECASTED" : "ACTUAL"
      subscriber_email_addresses = var.budget.emails
    }
  }
}
