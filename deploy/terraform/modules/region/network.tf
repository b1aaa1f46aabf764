# The network of a region's agents: two subnets, S3 without internet, the few services of AWS that an agent asks, and
# where egress_ips says so a way out. With vpc_id nothing of this is made.

locals {
  own        = var.settings.vpc_id == null
  vpc_id     = local.own ? aws_vpc.this[0].id : var.settings.vpc_id
  subnet_ids = local.own ? aws_subnet.this[*].id : var.settings.subnet_ids
  has_nat    = local.own && var.settings.egress_ips == "nat"
  has_way    = local.own && contains(["nat", "eip"], var.settings.egress_ips)
  peered     = local.own && var.control == "peering"
  service    = "${data.aws_partition.this.reverse_dns_prefix}.${var.region}"
}

data "aws_region" "this" {
  region = var.region

  lifecycle {
    postcondition {
      condition     = self.region == var.region
      error_message = "Region ${var.region} does not exist, or the account has not opted in to it."
    }
  }
}

data "aws_partition" "this" {}

data "aws_availability_zones" "this" {
  #checkov:skip=CKV_AWS_394:A zone that is added changes nothing: subnets keep theirs
  region = var.region
  state  = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:Flow logs of a load generator are as many as its connections; the agents' groups fence, and runs are recorded
  count = local.own ? 1 : 0

  region               = var.region
  cidr_block           = var.settings.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge(var.tags, { Name = "loadgen-${var.fleet}-agents" })
}

# Nobody uses the default group; it lets nothing in or out.
resource "aws_default_security_group" "this" {
  count = local.own ? 1 : 0

  region = var.region
  vpc_id = aws_vpc.this[0].id
  tags   = var.tags
}

resource "aws_subnet" "this" {
  count = local.own ? 2 : 0

  region                  = var.region
  vpc_id                  = aws_vpc.this[0].id
  cidr_block              = cidrsubnet(var.settings.cidr, 2, count.index)
  availability_zone       = data.aws_availability_zones.this.names[count.index]
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "loadgen-${var.fleet}-agents-${count.index}" })

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_route_table" "this" {
  count = local.own ? 1 : 0

  region = var.region
  vpc_id = aws_vpc.this[0].id
  tags   = merge(var.tags, { Name = "loadgen-${var.fleet}-agents" })
}

resource "aws_route_table_association" "this" {
  count = local.own ? 2 : 0

  region         = var.region
  subnet_id      = aws_subnet.this[count.index].id
  route_table_id = aws_route_table.this[0].id
}

# -- services of AWS -------------------------------------------------------------------------------

# Free. Amazon Linux has its packages in S3, too.
resource "aws_vpc_endpoint" "s3" {
  count = local.own ? 1 : 0

  region            = var.region
  vpc_id            = aws_vpc.this[0].id
  service_name      = "${local.service}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this[0].id]
  tags              = merge(var.tags, { Name = "loadgen-${var.fleet}-s3" })
}

resource "aws_security_group" "endpoints" {
  count = local.own ? 1 : 0

  region                 = var.region
  name                   = "loadgen-${var.fleet}-endpoints"
  description            = "What agents ask of AWS"
  vpc_id                 = aws_vpc.this[0].id
  revoke_rules_on_delete = true
  tags                   = merge(var.tags, { Name = "loadgen-${var.fleet}-endpoints" })
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count = local.own ? 1 : 0

  region                       = var.region
  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "Agents ask AWS"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.agents.id
  tags                         = var.tags
}

# In one zone only: each costs by zone and hour, and agents ask a few times a minute.
resource "aws_vpc_endpoint" "this" {
  for_each = local.own ? toset(var.settings.endpoints) : toset([])

  region              = var.region
  vpc_id              = aws_vpc.this[0].id
  service_name        = "${local.service}.${each.key}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = [aws_subnet.this[0].id]
  security_group_ids  = [aws_security_group.endpoints[0].id]
  private_dns_enabled = true
  tags                = merge(var.tags, { Name = "loadgen-${var.fleet}-${each.key}" })
}

# -- the way out -----------------------------------------------------------------------------------

resource "aws_internet_gateway" "this" {
  count = local.has_way ? 1 : 0

  region = var.region
  vpc_id = aws_vpc.this[0].id
  tags   = merge(var.tags, { Name = "loadgen-${var.fleet}" })
}

# A route is no permission: where agents may go is said by their security group.
# deploy-check: open cidr: a default route; the security group fences.
resource "aws_route" "out" {
  count = local.has_way ? 1 : 0

  region                 = var.region
  route_table_id         = aws_route_table.this[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = local.has_nat ? null : aws_internet_gateway.this[0].id
  nat_gateway_id         = local.has_nat ? aws_nat_gateway.this[0].id : null
}

resource "aws_subnet" "nat" {
  count = local.has_nat ? 1 : 0

  region                  = var.region
  vpc_id                  = aws_vpc.this[0].id
  cidr_block              = cidrsubnet(var.settings.cidr, 2, 2)
  availability_zone       = data.aws_availability_zones.this.names[0]
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "loadgen-${var.fleet}-nat" })

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_route_table" "nat" {
  count = local.has_nat ? 1 : 0

  region = var.region
  vpc_id = aws_vpc.this[0].id
  tags   = merge(var.tags, { Name = "loadgen-${var.fleet}-nat" })
}

# deploy-check: open cidr: a default route; only the NAT gateway uses it.
resource "aws_route" "nat" {
  count = local.has_nat ? 1 : 0

  region                 = var.region
  route_table_id         = aws_route_table.nat[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "nat" {
  count = local.has_nat ? 1 : 0

  region         = var.region
  subnet_id      = aws_subnet.nat[0].id
  route_table_id = aws_route_table.nat[0].id
}

resource "aws_nat_gateway" "this" {
  count = local.has_nat ? 1 : 0

  region        = var.region
  allocation_id = aws_eip.this[0].id
  subnet_id     = aws_subnet.nat[0].id
  tags          = merge(var.tags, { Name = "loadgen-${var.fleet}" })

  depends_on = [aws_internet_gateway.this]
}

# Of the NAT gateway, or one for each agent, which takes a free one when it starts.
resource "aws_eip" "this" {
  count = local.has_nat ? 1 : local.has_way ? var.settings.max_agents : 0

  region = var.region
  domain = "vpc"
  tags   = merge(var.tags, { Name = "loadgen-${var.fleet}-${count.index}" })
}

# -- the way to the controller ---------------------------------------------------------------------

resource "aws_vpc_peering_connection" "this" {
  count = local.peered ? 1 : 0

  region      = var.region
  vpc_id      = aws_vpc.this[0].id
  peer_vpc_id = var.controller_vpc_id
  peer_region = var.controller_region
  tags        = merge(var.tags, { Name = "loadgen-${var.fleet}-controller" })
}

resource "aws_vpc_peering_connection_accepter" "this" {
  count = local.peered ? 1 : 0

  region                    = var.controller_region
  vpc_peering_connection_id = aws_vpc_peering_connection.this[0].id
  auto_accept               = true
  tags                      = merge(var.tags, { Name = "loadgen-${var.fleet}-${var.region}" })
}

resource "aws_route" "controller" {
  count = local.peered ? 1 : 0

  region                    = var.region
  route_table_id            = aws_route_table.this[0].id
  destination_cidr_block    = var.controller_cidr
  vpc_peering_connection_id = aws_vpc_peering_connection_accepter.this[0].vpc_peering_connection_id
}

resource "aws_route" "agents" {
  count = local.peered ? 1 : 0

  region                    = var.controller_region
  route_table_id            = var.controller_routes
  destination_cidr_block    = var.settings.cidr
  vpc_peering_connection_id = aws_vpc_peering_connection_accepter.this[0].vpc_peering_connection_id
}

# A gateway endpoint knows the buckets of its own region only. From elsewhere the bucket is asked through the peering.
resource "aws_route53_zone_association" "s3" {
  count = local.peered && var.region != var.controller_region ? 1 : 0

  zone_id    = var.s3_zone_id
  vpc_id     = aws_vpc.this[0].id
  vpc_region = var.region
}

data "aws_ip_ranges" "s3" {
  count = var.control == "public" && var.region != var.controller_region ? 1 : 0

  regions  = [var.controller_region]
  services = ["s3"]
}
