variable "fleet" {
  description = "Name of the fleet."
  type        = string
}

variable "account_id" {
  description = "The account's id."
  type        = string
}

variable "settings" {
  description = "The variable controller of the root module, which says what each means."
  type = object({
    region        = string
    cidr          = string
    instance_type = string
    disk_gb       = number
    state         = string
    ttl_s         = number
    ami_id        = optional(string)
    options       = list(string)
  })
}

variable "bucket" {
  description = "The fleet's bucket."
  type        = string
}

variable "wheelhouse" {
  description = "sha256 of what machines install."
  type        = string
}

variable "control" {
  description = "peering or public."
  type        = string
}

variable "agent_cidrs" {
  description = "Networks of agents, by region; they may connect where control is peering."
  type        = map(string)
}

variable "remote_cidrs" {
  description = "Those of them in other regions, which ask the bucket through this network."
  type        = map(string)
}

variable "agent_ips" {
  description = "Fixed addresses of agents, by region; they may connect where control is public."
  type        = map(list(string))
}

variable "client_cidrs" {
  description = "Networks from which people reach the API."
  type        = list(string)
}

variable "instance_profile" {
  description = "Name of the controller's instance profile."
  type        = string
}

variable "role_arn" {
  description = "The controller's role."
  type        = string
}

variable "tags" {
  description = "Of every resource."
  type        = map(string)
}
