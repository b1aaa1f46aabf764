output "user_data" {
  description = "cloud-config, not encoded; at most 16384 bytes."
  value       = local.user_data

  precondition {
    condition     = length(local.user_data) <= 16384
    error_message = "The user data are longer than the 16 kB that EC2 accepts."
  }
}
