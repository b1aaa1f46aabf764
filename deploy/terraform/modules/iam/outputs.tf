output "agent_profile_arn" {
  description = "Instance profile of agents."
  value       = aws_iam_instance_profile.agent.arn
}

output "controller_profile" {
  description = "Name of the controller's instance profile."
  value       = aws_iam_instance_profile.controller.name
}

output "controller_role_arn" {
  description = "The controller's role: the only one that may decrypt the secret key."
  value       = aws_iam_role.controller.arn
}
