# The controller: one machine with a fixed address, whose disk outlives a stop.

module "boot" {
  source = "../boot"

  role = "controller"
  settings = {
    FLEET      = var.fleet
    REGION     = local.region
    BUCKET     = var.bucket
    WHEELHOUSE = var.wheelhouse
    TTL_S      = tostring(var.settings.ttl_s)
    OPTIONS    = join(" ", var.settings.options)
  }
}

data "aws_ssm_parameter" "image" {
  region = local.region
  name   = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

resource "aws_eip" "this" {
  region = local.region
  domain = "vpc"
  tags   = merge(var.tags, { Name = local.name })
}

resource "aws_eip_association" "this" {
  region        = local.region
  allocation_id = aws_eip.this.id
  instance_id   = aws_instance.this.id
}

resource "aws_instance" "this" {
  #checkov:skip=CKV_AWS_126:The controller watches itself and says when it is late; a minute's figures would add a price
  region                               = local.region
  ami                                  = coalesce(var.settings.ami_id, data.aws_ssm_parameter.image.insecure_value)
  instance_type                        = var.settings.instance_type
  subnet_id                            = aws_subnet.this.id
  private_ip                           = local.private_ip
  vpc_security_group_ids               = [aws_security_group.this.id]
  iam_instance_profile                 = var.instance_profile
  instance_initiated_shutdown_behavior = "stop"
  ebs_optimized                        = true
  monitoring                           = false
  user_data                            = module.boot.user_data
  user_data_replace_on_change          = false
  tags                                 = merge(var.tags, { Name = local.name })
  volume_tags                          = merge(var.tags, { Name = local.name })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = var.settings.disk_gb
    encrypted             = true
    delete_on_termination = true
  }

  lifecycle {
    # A newer image is no reason to lose the runs on the disk: taint it, or pin ami_id, when you mean it.
    ignore_changes = [ami, user_data]
  }
}

resource "aws_ec2_instance_state" "this" {
  region      = local.region
  instance_id = aws_instance.this.id
  state       = var.settings.state
}

# -- the secret key --------------------------------------------------------------------------------
# Its parameter is not here: a value that Terraform writes is in its state. `aws ssm put-parameter` writes it, encrypted
# with this key, and only the controller's role may decrypt it.

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:The policy of a key names the key itself as *, and the account administers it
  #checkov:skip=CKV_AWS_111:The policy of a key names the key itself as *
  #checkov:skip=CKV_AWS_356:The policy of a key names the key itself as *
  statement {
    sid       = "AccountAdministers"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.this.partition}:iam::${var.account_id}:root"]
    }
  }

  statement {
    sid       = "ControllerReads"
    actions   = ["kms:Decrypt"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = [var.role_arn]
    }
  }
}

resource "aws_kms_key" "this" {
  region                  = local.region
  description             = "Secret key of the controller of ${var.fleet}"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = var.tags
}

resource "aws_kms_alias" "this" {
  region        = local.region
  name          = "alias/loadgen-${var.fleet}"
  target_key_id = aws_kms_key.this.key_id
}
