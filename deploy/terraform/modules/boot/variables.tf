variable "role" {
  description = "agent or controller: what the machine becomes."
  type        = string

  validation {
    condition     = contains(["agent", "controller"], var.role)
    error_message = "role must be agent or controller."
  }
}

variable "settings" {
  description = "What boot.sh and the units read, as NAME = value; in /etc/loadgen/boot.env on the machine."
  type        = map(string)

  validation {
    condition     = alltrue([for name, value in var.settings : can(regex("^[A-Z][A-Z0-9_]*$", name)) && can(regex("^[A-Za-z0-9._:/=@, -]*$", value))])
    error_message = "Names must be capitals; values must not contain quotes or other shell characters."
  }
}
