output "fleet_json" {
  description = "terraform output -raw fleet_json > fleet.json"
  value       = module.loadgen.fleet_json
}

output "controller" {
  description = "The addresses for agents and clients."
  value       = module.loadgen.controller
}

output "egress_ips" {
  description = "The agents' public addresses, for allow-lists."
  value       = module.loadgen.egress_ips
}

output "secret_key_parameter" {
  description = "The parameter for the controller's secret key."
  value       = module.loadgen.secret_key_parameter
}

output "hourly_usd" {
  description = "The on-demand price of all agents per hour, USD."
  value       = module.loadgen.hourly_usd
}
