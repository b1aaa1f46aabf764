variable "fleet" {
  description = "Name of the fleet."
  type        = string
}

variable "account_id" {
  description = "The account's id."
  type        = string
}

variable "bucket" {
  description = "Name of the fleet's bucket."
  type        = string
}

variable "wheelhouse" {
  description = "sha256 of the lock whose wheels machines may read."
  type        = string
}


variable "permissions_boundary" {
  description = "ARN of a policy that bounds both roles; null for none."
  type        = string
}

variable "tags" {
  description = "Of every resource."
  type        = map(string)
}
