variable "fleet" {
  description = "Name of the fleet."
  type        = string
  default     = "shop"
}

variable "account_id" {
  description = "The id of the AWS account for this fleet."
  type        = string
}

variable "owner" {
  description = "The owner of the fleet."
  type        = string
}

variable "expires_at" {
  description = "The time at which all agents stop, UTC; null for never."
  type        = string
  default     = null
}

variable "wheelhouse" {
  description = "The sha256 that tools/wheelhouse.py printed."
  type        = string
}

variable "controller_public_key" {
  description = "The content of controller.pub from `loadgen keys init`."
  type        = string
}

variable "target_cidrs" {
  description = "The networks that you may load."
  type        = list(string)
}
