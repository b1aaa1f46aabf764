variable "fleet" {
  description = "Name of the fleet."
  type        = string
  default     = "shop"
}

variable "account_id" {
  description = "The account that this belongs into."
  type        = string
}

variable "owner" {
  description = "Who answers for it."
  type        = string
}

variable "expires_at" {
  description = "When all of it stops, UTC; null for never."
  type        = string
  default     = null
}

variable "wheelhouse" {
  description = "sha256 that tools/wheelhouse.py printed."
  type        = string
}

variable "controller_public_key" {
  description = "controller.pub of `loadgen keys init`."
  type        = string
}

variable "target_cidrs" {
  description = "Whom you may load."
  type        = list(string)
}
