output "fleet_json" {
  description = "terraform output -raw fleet_json > fleet.json"
  value       = module.loadgen.fleet_json
}

output "controller" {
  description = "Where agents and clients come to."
  value       = module.loadgen.controller
}

output "egress_ips" {
  description = "Addresses that load comes from, for allow-lists."
  value       = module.loadgen.egress_ips
}

output "secret_key_parameter" {
  description = "Where the controller's secret key is to be put."
  value       = module.loadgen.secret_key_parameter
}

output "hourly_usd" {
  description = "What all agents together would cost an hour."
  value       = module.loadgen.hourly_usd
}
