# One bucket for a fleet: wheels, the public keys of agents that enrol, results.

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:Who read what is in CloudTrail, where that is switched on for the account; logs would need a second bucket
  #checkov:skip=CKV_AWS_144:Results can be pushed elsewhere with loadgen runs push; wheels are made again
  #checkov:skip=CKV_AWS_145:Agents of all regions read here; a key of our own would have to let each of them in, and hide it from nobody
  #checkov:skip=CKV2_AWS_62:Nothing waits for objects; the controller looks by itself
  region        = var.region
  bucket        = var.bucket
  force_destroy = var.force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_versioning" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  region                  = var.region
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# The key of S3 itself: agents in every region read and write here, and a key of our own would have to let all of them in.
resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "enroll"
    status = "Enabled"

    filter {
      prefix = "enroll/"
    }

    expiration {
      days = 7
    }
  }

  rule {
    id     = "results"
    status = "Enabled"

    filter {
      prefix = "results/"
    }

    expiration {
      days = 400
    }
  }

  rule {
    id     = "leftovers"
    status = "Enabled"

    filter {
      prefix = ""
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "OnlyOverTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # An upload that says nothing of encryption gets the bucket's. One that asks for another is refused.
  statement {
    sid       = "OnlyEncryptedAsTheBucketSays"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "StringNotEqualsIfExists"
      variable = "s3:x-amz-server-side-encryption"
      values   = ["AES256"]
    }

    condition {
      test     = "Null"
      variable = "s3:x-amz-server-side-encryption"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.this.json

  depends_on = [aws_s3_bucket_public_access_block.this]
}

# The controller reads it when it starts: changed here, `systemctl restart loadgen-controller` there.
resource "aws_s3_object" "allow" {
  #checkov:skip=CKV_AWS_186:As the bucket: the key of S3 itself
  region       = var.region
  bucket       = aws_s3_bucket.this.id
  key          = "bootstrap/allow.toml"
  content      = var.allow
  content_type = "application/toml"
  tags         = var.tags

  depends_on = [aws_s3_bucket_versioning.this]
}
