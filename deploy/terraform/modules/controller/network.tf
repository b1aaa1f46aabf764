# The controller's network: one subnet. The controller asks AWS in every region of the fleet, so it has a way out; in
# comes only what its security group says.

locals {
  region     = var.settings.region
  name       = "loadgen-${var.fleet}-controller"
  service    = "${data.aws_partition.this.reverse_dns_prefix}.${local.region}"
  private_ip = cidrhost(var.settings.cidr, 10)
  bucket_ip  = cidrhost(var.settings.cidr, 11)
  # Agents elsewhere ask the bucket through here.
  remote = var.control == "peering" ? var.remote_cidrs : {}
}

data "aws_partition" "this" {}

data "aws_availability_zones" "this" {
  #checkov:skip=CKV_AWS_394:A zone that is added changes nothing: subnets keep theirs
  region = local.region
  state  = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:Flow logs of a load generator are as many as its connections; the agents' groups fence, and runs are recorded
  region               = local.region
  cidr_block           = var.settings.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge(var.tags, { Name = local.name })
}

resource "aws_default_security_group" "this" {
  region = local.region
  vpc_id = aws_vpc.this.id
  tags   = var.tags
}

resource "aws_subnet" "this" {
  region                  = local.region
  vpc_id                  = aws_vpc.this.id
  cidr_block              = var.settings.cidr
  availability_zone       = data.aws_availability_zones.this.names[0]
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = local.name })

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_internet_gateway" "this" {
  region = local.region
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = local.name })
}

resource "aws_route_table" "this" {
  region = local.region
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = local.name })
}

# deploy-check: open cidr: a default route; the security group fences.
resource "aws_route" "out" {
  region                 = local.region
  route_table_id         = aws_route_table.this.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "this" {
  region         = local.region
  subnet_id      = aws_subnet.this.id
  route_table_id = aws_route_table.this.id
}

resource "aws_vpc_endpoint" "s3" {
  region            = local.region
  vpc_id            = aws_vpc.this.id
  service_name      = "${local.service}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this.id]
  tags              = merge(var.tags, { Name = "${local.name}-s3" })
}

# -- the bucket, for agents of other regions -------------------------------------------------------
# A gateway endpoint serves the buckets of its own region. Agents elsewhere that have no internet come through the
# peering to an interface endpoint here, which they find in a private zone of the bucket's region.

resource "aws_security_group" "bucket" {
  count = length(local.remote) > 0 ? 1 : 0

  region                 = local.region
  name                   = "loadgen-${var.fleet}-bucket"
  description            = "The bucket, for agents of other regions"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true
  tags                   = merge(var.tags, { Name = "loadgen-${var.fleet}-bucket" })
}

resource "aws_vpc_security_group_ingress_rule" "bucket" {
  for_each = merge(local.remote, length(local.remote) > 0 ? { (local.region) = var.settings.cidr } : {})

  region            = local.region
  security_group_id = aws_security_group.bucket[0].id
  description       = "From ${each.key}"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
  tags              = var.tags
}

resource "aws_vpc_endpoint" "bucket" {
  count = length(local.remote) > 0 ? 1 : 0

  region             = local.region
  vpc_id             = aws_vpc.this.id
  service_name       = "${local.service}.s3"
  vpc_endpoint_type  = "Interface"
  subnet_ids         = [aws_subnet.this.id]
  security_group_ids = [aws_security_group.bucket[0].id]
  tags               = merge(var.tags, { Name = "loadgen-${var.fleet}-bucket" })

  subnet_configuration {
    subnet_id = aws_subnet.this.id
    ipv4      = local.bucket_ip
  }
}

resource "aws_route53_zone" "s3" {
  count = length(local.remote) > 0 ? 1 : 0

  name    = "s3.${local.region}.${data.aws_partition.this.dns_suffix}"
  comment = "The bucket of the load generator ${var.fleet}, for its agents in other regions"
  tags    = var.tags

  vpc {
    vpc_id     = aws_vpc.this.id
    vpc_region = local.region
  }

  lifecycle {
    # The networks of the other regions are associated by their own modules.
    ignore_changes = [vpc]
  }
}

resource "aws_route53_record" "s3" {
  #checkov:skip=CKV2_AWS_23:The address is the endpoint's, which is said above
  for_each = length(local.remote) > 0 ? { itself = "", buckets = "*." } : {}

  zone_id = aws_route53_zone.s3[0].zone_id
  name    = "${each.value}s3.${local.region}.${data.aws_partition.this.dns_suffix}"
  type    = "A"
  ttl     = 300
  records = [local.bucket_ip]
}

# -- who may come in, and where it goes ------------------------------------------------------------

resource "aws_security_group" "this" {
  region                 = local.region
  name                   = local.name
  description            = "Controller: agents and clients come in"
  vpc_id                 = aws_vpc.this.id
  revoke_rules_on_delete = true
  tags                   = merge(var.tags, { Name = local.name })
}

resource "aws_vpc_security_group_ingress_rule" "agents" {
  for_each = var.control == "peering" ? var.agent_cidrs : {}

  region            = local.region
  security_group_id = aws_security_group.this.id
  description       = "Agents of ${each.key}"
  ip_protocol       = "tcp"
  from_port         = 5557
  to_port           = 5557
  cidr_ipv4         = each.value
  tags              = var.tags
}

resource "aws_ec2_managed_prefix_list" "agents" {
  count = var.control == "public" ? 1 : 0

  region         = local.region
  name           = "loadgen-${var.fleet}-agents"
  address_family = "IPv4"
  max_entries    = max(1, sum([for ips in values(var.agent_ips) : length(ips)]))
  tags           = var.tags

  dynamic "entry" {
    for_each = flatten(values(var.agent_ips))

    content {
      cidr        = "${entry.value}/32"
      description = "Agents"
    }
  }
}

resource "aws_vpc_security_group_ingress_rule" "agents_public" {
  count = var.control == "public" ? 1 : 0

  region            = local.region
  security_group_id = aws_security_group.this.id
  description       = "Agents, by their fixed addresses"
  ip_protocol       = "tcp"
  from_port         = 5557
  to_port           = 5557
  prefix_list_id    = aws_ec2_managed_prefix_list.agents[0].id
  tags              = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidrs)

  region            = local.region
  security_group_id = aws_security_group.this.id
  description       = "Clients: TLS and a token"
  ip_protocol       = "tcp"
  from_port         = 5558
  to_port           = 5558
  cidr_ipv4         = each.value
  tags              = var.tags
}

# deploy-check: open cidr: AWS in all regions of the fleet has no list of addresses, and no scenario runs here.
resource "aws_vpc_security_group_egress_rule" "aws" {
  region            = local.region
  security_group_id = aws_security_group.this.id
  description       = "AWS, in the regions of the fleet"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
  tags              = var.tags
}
