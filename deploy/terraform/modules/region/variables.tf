variable "region" {
  description = "Where all of this is."
  type        = string
}

variable "fleet" {
  description = "Name of the fleet."
  type        = string
}

variable "settings" {
  description = "The region's entry in regions of the root module, which says what each means."
  type = object({
    cidr                = string
    max_agents          = number
    instance_types      = list(string)
    on_demand_base      = number
    on_demand_percent   = number
    egress_ips          = string
    vpc_id              = optional(string)
    subnet_ids          = list(string)
    endpoints           = list(string)
    ami_id              = optional(string)
    capacity_rebalance  = bool
    replace_lost        = bool
    detailed_monitoring = bool
  })
}

variable "control" {
  description = "peering or public."
  type        = string
}

variable "controller_region" {
  description = "The controller's region; the bucket is there, too."
  type        = string
}

variable "controller_vpc_id" {
  description = "The controller's network."
  type        = string
}

variable "controller_cidr" {
  description = "The controller's network, as addresses."
  type        = string
}

variable "controller_routes" {
  description = "The controller's route table, for the way back."
  type        = string
}

variable "controller_ip" {
  description = "Where the controller listens."
  type        = string
}

variable "controller_key" {
  description = "The controller's public key."
  type        = string
}

variable "s3_zone_id" {
  description = "Private zone in which the bucket's region is found at the controller's network; null where it is not needed."
  type        = string
}

variable "bucket" {
  description = "The fleet's bucket."
  type        = string
}

variable "wheelhouse" {
  description = "sha256 of what machines install."
  type        = string
}

variable "target_cidrs" {
  description = "Networks that load may go to."
  type        = list(string)
}

variable "target_ports" {
  description = "Ports that load may go to."
  type        = list(number)
}

variable "ttl_s" {
  description = "Seconds after which an agent ends itself."
  type        = number
}

variable "keep_failed" {
  description = "Whether an agent whose start failed stays until its time is over."
  type        = bool
}

variable "expires_at" {
  description = "When the group goes to 0, RFC 3339 in UTC; null for never."
  type        = string
}

variable "daily_stop" {
  description = "Cron, UTC: when the group goes to 0 every day; null for never."
  type        = string
}

variable "instance_profile_arn" {
  description = "The agents' instance profile."
  type        = string
}

variable "tags" {
  description = "Of every resource."
  type        = map(string)
}
