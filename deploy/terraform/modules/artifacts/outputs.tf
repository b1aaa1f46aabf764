output "arn" {
  description = "The bucket."
  value       = aws_s3_bucket.this.arn
}
