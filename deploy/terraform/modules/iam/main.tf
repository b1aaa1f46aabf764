# Who may what. IAM is global: nothing here has a region.
#
# An agent runs other people's scenarios, so its role is worth as little as can be: it reads what it runs, writes two
# prefixes of its own, and reads the parameters of its fleet. On EC2 it may set one tag, and take a fixed address.

locals {
  name          = "loadgen-${var.fleet}"
  arn           = "arn:${data.aws_partition.this.partition}"
  bucket_arn    = "${local.arn}:s3:::${var.bucket}"
  parameter_arn = "${local.arn}:ssm:*:${var.account_id}:parameter/loadgen/${var.fleet}"
  instance_arn  = "${local.arn}:ec2:*:${var.account_id}:instance/*"
}

data "aws_partition" "this" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.this.dns_suffix}"]
    }
  }
}

# -- agents ----------------------------------------------------------------------------------------

data "aws_iam_policy_document" "agent" {
  statement {
    sid       = "ReadItsWheels"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arn}/wheelhouse/${var.wheelhouse}/*"]
  }

  # The session of an instance's role is named by the instance, so aws:userid is ROLEID:i-0123: each can write its own
  # object only, and the controller knows which instance it was.
  statement {
    sid       = "WriteItsOwn"
    actions   = ["s3:PutObject"]
    resources = ["${local.bucket_arn}/enroll/&{aws:userid}", "${local.bucket_arn}/results/&{aws:userid}/*"]
  }

  statement {
    sid       = "ReadParameters"
    actions   = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]
    resources = ["${local.parameter_arn}/agent/*", "${local.parameter_arn}/secrets", "${local.parameter_arn}/secrets/*"]
  }

  statement {
    sid       = "TellHowTheStartEnded"
    actions   = ["ec2:CreateTags"]
    resources = [local.instance_arn]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/loadgen:fleet"
      values   = [var.fleet]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/loadgen:role"
      values   = ["agent"]
    }

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws:TagKeys"
      values   = ["loadgen:boot"]
    }
  }

  # egress_ips = "eip": the address is taken by the machine itself. The fleet's addresses, for the fleet's machines.
  statement {
    sid       = "TakeAFixedAddress"
    actions   = ["ec2:AssociateAddress"]
    resources = [
      local.instance_arn,
      "${local.arn}:ec2:*:${var.account_id}:elastic-ip/*",
      "${local.arn}:ec2:*:${var.account_id}:network-interface/*",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/loadgen:fleet"
      values   = [var.fleet]
    }
  }

  # DescribeAddresses knows no resources; it only reads.
  statement {
    sid       = "SeeFixedAddresses"
    actions   = ["ec2:DescribeAddresses"]
    resources = ["*"]
  }

  statement {
    sid       = "LeaveAtOnce"
    actions   = ["autoscaling:CompleteLifecycleAction"]
    resources = ["${local.arn}:autoscaling:*:${var.account_id}:autoScalingGroup:*:autoScalingGroupName/loadgen-${var.fleet}-*"]
  }
}

resource "aws_iam_role" "agent" {
  name                 = "${local.name}-agent"
  description          = "Agents of the load generator ${var.fleet}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "agent" {
  name   = "agent"
  role   = aws_iam_role.agent.id
  policy = data.aws_iam_policy_document.agent.json
}

resource "aws_iam_instance_profile" "agent" {
  name = "${local.name}-agent"
  role = aws_iam_role.agent.name
  tags = var.tags
}

# -- controller ------------------------------------------------------------------------------------

data "aws_iam_policy_document" "controller" {
  #checkov:skip=CKV_AWS_111:Channels of Session Manager know no resources
  #checkov:skip=CKV_AWS_356:Describe calls, metrics, traces and channels of Session Manager know no resources
  statement {
    sid       = "SeeTheBucket"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["enroll/*", "results/*"]
    }
  }

  # A long file that was interrupted goes on. This action knows no prefix.
  statement {
    sid       = "SeeUploads"
    actions   = ["s3:ListBucketMultipartUploads"]
    resources = [local.bucket_arn]
  }

  statement {
    sid       = "ReadTheBucket"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arn}/*"]
  }

  statement {
    sid       = "WriteTheBucket"
    actions   = ["s3:PutObject", "s3:ListMultipartUploadParts"]
    resources = ["${local.bucket_arn}/results/*", "${local.bucket_arn}/bootstrap/server.crt"]
  }

  # Of an instance that is gone the public key goes, too.
  statement {
    sid       = "ForgetAgents"
    actions   = ["s3:DeleteObject"]
    resources = ["${local.bucket_arn}/enroll/*"]
  }

  statement {
    sid       = "ReadParameters"
    actions   = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]
    resources = ["${local.parameter_arn}/*"]
  }

  statement {
    sid       = "Kill"
    actions   = ["ssm:PutParameter"]
    resources = ["${local.parameter_arn}/agent/kill"]
  }

  statement {
    sid       = "ChangeTheFleet"
    actions   = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup", "autoscaling:CompleteLifecycleAction"]
    resources = ["${local.arn}:autoscaling:*:${var.account_id}:autoScalingGroup:*:autoScalingGroupName/loadgen-${var.fleet}-*"]

    condition {
      test     = "StringEquals"
      variable = "autoscaling:ResourceTag/loadgen:fleet"
      values   = [var.fleet]
    }
  }

  # None of these knows resources; they only read.
  statement {
    sid = "SeeTheFleet"
    actions = [
      "autoscaling:DescribeAutoScalingGroups",
      "autoscaling:DescribeScalingActivities",
      "cloudwatch:GetMetricData",
      "ec2:DescribeAddresses",
      "ec2:DescribeInstances",
      "ec2:DescribeInstanceStatus",
      "ec2:DescribeInstanceTypes",
      "servicequotas:GetServiceQuota",
      "xray:BatchGetTraces",
      "xray:CancelTraceRetrieval",
      "xray:GetTraceSummaries",
      "xray:ListRetrievedTraces",
      "xray:StartTraceRetrieval",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "TellHowTheStartEnded"
    actions   = ["ec2:CreateTags"]
    resources = [local.instance_arn]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/loadgen:fleet"
      values   = [var.fleet]
    }

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws:TagKeys"
      values   = ["loadgen:boot"]
    }
  }

  # People come in by Session Manager. Its channels know no resources. The managed policy for it would read every
  # parameter of the account as well.
  statement {
    sid = "SessionManager"
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "controller" {
  name                 = "${local.name}-controller"
  description          = "Controller of the load generator ${var.fleet}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "controller" {
  name   = "controller"
  role   = aws_iam_role.controller.id
  policy = data.aws_iam_policy_document.controller.json
}

resource "aws_iam_instance_profile" "controller" {
  name = "${local.name}-controller"
  role = aws_iam_role.controller.name
  tags = var.tags
}
