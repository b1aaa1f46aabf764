output "vpc_id" {
  description = "The controller's network."
  value       = aws_vpc.this.id
}

output "route_table_id" {
  description = "Its routes, to which the regions add theirs."
  value       = aws_route_table.this.id
}

output "private_ip" {
  description = "Where agents come to through the peering; known before anything is made."
  value       = local.private_ip
}

output "public_ip" {
  description = "Its fixed address."
  value       = aws_eip.this.public_ip
}

output "instance_id" {
  description = "The machine, for Session Manager."
  value       = aws_instance.this.id
}

output "kms_alias" {
  description = "Encrypts the secret key."
  value       = aws_kms_alias.this.name
}

output "secret_parameter" {
  description = "Where the controller reads its secret key."
  value       = "/loadgen/${var.fleet}/controller/secret-key"
}

output "s3_zone_id" {
  description = "Private zone of the bucket's region, for agents of other regions; null where there are none."
  value       = try(aws_route53_zone.s3[0].zone_id, null)
}
