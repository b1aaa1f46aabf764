output "asg" {
  description = "Name of the group of agents."
  value       = aws_autoscaling_group.this.name
}

output "launch_template" {
  description = "Name of the launch template."
  value       = aws_launch_template.this.name
}

output "security_group" {
  description = "The agents' security group."
  value       = aws_security_group.agents.id
}

output "subnets" {
  description = "Where agents are started."
  value       = local.subnet_ids
}

output "egress_ips" {
  description = "Addresses that load comes from, where they are fixed."
  value       = tolist(aws_eip.this[*].public_ip)
}
