variable "region" {
  description = "Where the bucket is: the controller's region."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "force_destroy" {
  description = "Whether the bucket may be deleted with what is in it."
  type        = bool
}

variable "allow" {
  description = "The controller's allow-list."
  type        = string
}

variable "tags" {
  description = "Of every resource."
  type        = map(string)
}
