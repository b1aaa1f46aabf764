# The agents: a group of 0 to max_agents machines that nobody can connect to.

locals {
  name        = "loadgen-${var.fleet}-${var.region}"
  parameters  = "/loadgen/${var.fleet}/agent"
  endpoint    = "${var.controller_ip}:5557"
  image       = coalesce(var.settings.ami_id, data.aws_ssm_parameter.image.insecure_value)
  image_param = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"

  stops = { for name, stop in {
    loadgen-daily-stop   = { at = null, recurrence = var.daily_stop }
    loadgen-fleet-expiry = { at = var.expires_at, recurrence = null }
  } : name => stop if stop.at != null || stop.recurrence != null }
}

module "boot" {
  source = "../boot"

  role = "agent"
  settings = {
    FLEET       = var.fleet
    REGION      = var.region
    BUCKET      = var.bucket
    WHEELHOUSE  = var.wheelhouse
    TTL_S       = tostring(var.ttl_s)
    KEEP_FAILED = var.keep_failed ? "yes" : "no"
    EGRESS_IPS  = var.settings.egress_ips
    OPTIONS     = var.settings.capacity_rebalance ? "--leave-early" : ""
  }
}

data "aws_ssm_parameter" "image" {
  region = var.region
  name   = local.image_param
}

# -- parameters for agents --------------------------------------------------------------------------
# Not secret, and so plain: an address, a public key, a flag.

resource "aws_ssm_parameter" "endpoint" {
  #checkov:skip=CKV2_AWS_34:Not a secret
  region      = var.region
  name        = "${local.parameters}/controller-endpoint"
  description = "Where agents connect to"
  type        = "String"
  value       = local.endpoint
  tags        = var.tags
}

resource "aws_ssm_parameter" "public_key" {
  #checkov:skip=CKV2_AWS_34:Not a secret
  region      = var.region
  name        = "${local.parameters}/controller-public-key"
  description = "The only controller that agents obey"
  type        = "String"
  value       = var.controller_key
  tags        = var.tags
}

resource "aws_ssm_parameter" "kill" {
  #checkov:skip=CKV2_AWS_34:Not a secret
  region      = var.region
  name        = "${local.parameters}/kill"
  description = "no, or yes and a reason: every agent stops at once"
  type        = "String"
  value       = "no"
  tags        = var.tags

  lifecycle {
    ignore_changes = [value]
  }
}

# -- egress of agents -----------------------------------------------------------------------------
# No ingress at all. DNS at the network's own resolver, time and metadata are link-local: groups do not filter them.

resource "aws_security_group" "agents" {
  region                 = var.region
  name                   = "${local.name}-agents"
  description            = "Agents: nothing comes in; out to the controller, AWS, and the targets"
  vpc_id                 = local.vpc_id
  revoke_rules_on_delete = true
  tags                   = merge(var.tags, { Name = "${local.name}-agents" })
}

resource "aws_vpc_security_group_egress_rule" "controller" {
  region            = var.region
  security_group_id = aws_security_group.agents.id
  description       = "The controller"
  ip_protocol       = "tcp"
  from_port         = 5557
  to_port           = 5557
  cidr_ipv4         = "${var.controller_ip}/32"
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  region            = var.region
  security_group_id = aws_security_group.agents.id
  description       = "S3 of this region"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = data.aws_ec2_managed_prefix_list.s3.id
  tags              = var.tags
}

data "aws_ec2_managed_prefix_list" "s3" {
  region = var.region
  name   = "${local.service}.s3"
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  region            = var.region
  security_group_id = aws_security_group.agents.id
  description       = "Services of AWS, in this network"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.settings.cidr
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "bucket_by_peering" {
  count = var.control == "peering" && var.region != var.controller_region ? 1 : 0

  region            = var.region
  security_group_id = aws_security_group.agents.id
  description       = "S3 of the bucket's region, through the controller's network"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.controller_cidr
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "bucket_by_internet" {
  for_each = toset(flatten(data.aws_ip_ranges.s3[*].cidr_blocks))

  region            = var.region
  security_group_id = aws_security_group.agents.id
  description       = "S3 of the bucket's region"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "targets" {
  for_each = { for pair in setproduct(var.target_cidrs, var.target_ports) : "${pair[0]}:${pair[1]}" => { cidr = pair[0], port = pair[1] } }

  region            = var.region
  security_group_id = aws_security_group.agents.id
  description       = "A target"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = var.tags
}

# -- the machines ----------------------------------------------------------------------------------

resource "aws_launch_template" "this" {
  region                               = var.region
  name                                 = "${local.name}-agent"
  description                          = "An agent of the load generator ${var.fleet}"
  image_id                             = local.image
  instance_type                        = var.settings.instance_types[0]
  instance_initiated_shutdown_behavior = "terminate"
  user_data                            = base64encode(module.boot.user_data)
  update_default_version               = true
  tags                                 = var.tags

  iam_instance_profile {
    arn = var.instance_profile_arn
  }

  # A hop more would let containers in, which there are none of.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  network_interfaces {
    associate_public_ip_address = false
    delete_on_termination       = true
    security_groups             = [aws_security_group.agents.id]
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 16
      encrypted             = true
      delete_on_termination = true
    }
  }

  monitoring {
    enabled = var.settings.detailed_monitoring
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${local.name}-agent" })
    }
  }
}

# min 0 and no desired_capacity: `loadgen fleet` says how many there are, and a `terraform apply` in mid-run leaves it.
#
# Nobody but the controller and the two stops takes agents away, so new ones are not protected from scale-in: protected
# ones would outlive both stops. ReplaceUnhealthy is suspended for the same reason: an agent whose time to live is over
# would be replaced by one with a new time to live, and one that fails to start by the next that fails.
resource "aws_autoscaling_group" "this" {
  region                    = var.region
  name                      = "${local.name}-agents"
  min_size                  = 0
  max_size                  = var.settings.max_agents
  vpc_zone_identifier       = local.subnet_ids
  health_check_type         = "EC2"
  health_check_grace_period = 120
  default_instance_warmup   = 90
  capacity_rebalance        = var.settings.capacity_rebalance
  protect_from_scale_in     = false
  suspended_processes       = var.settings.replace_lost ? ["AZRebalance"] : ["AZRebalance", "ReplaceUnhealthy"]
  wait_for_capacity_timeout = "0"

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = var.settings.on_demand_base
      on_demand_percentage_above_base_capacity = var.settings.on_demand_percent
      on_demand_allocation_strategy            = "prioritized"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this.id
        version            = aws_launch_template.this.latest_version
      }

      dynamic "override" {
        for_each = { for index, type in var.settings.instance_types : format("%02d", index) => type }

        content {
          instance_type = override.value
        }
      }
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${local.name}-agent" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # `loadgen fleet up` sets loadgen:run and loadgen:expires-at for as long as a run goes on.
    ignore_changes = [desired_capacity, tag]
  }
}

resource "aws_autoscaling_lifecycle_hook" "leave" {
  region                 = var.region
  name                   = "loadgen-leave"
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = 120
  default_result         = "CONTINUE"
}

resource "aws_autoscaling_schedule" "stop" {
  for_each = local.stops

  region                 = var.region
  scheduled_action_name  = each.key
  autoscaling_group_name = aws_autoscaling_group.this.name
  min_size               = 0
  max_size               = -1
  desired_capacity       = 0
  start_time             = each.value.at
  recurrence             = each.value.recurrence
  time_zone              = "Etc/UTC"

  lifecycle {
    # Not a validation of the variable: that would also hold up the `terraform destroy` of a fleet that is over.
    precondition {
      condition     = each.value.at == null || try(timecmp(each.value.at, plantimestamp()) > 0, false)
      error_message = "expires_at is in the past: set a later time."
    }
  }
}
