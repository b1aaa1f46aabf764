variable "fleet" {
  description = "Name of the fleet: part of every name and path, and of the tag loadgen:fleet by which it is found."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.fleet))
    error_message = "fleet must have 3 to 32 lower-case letters, digits and hyphens, start with a letter and not end with a hyphen."
  }
}

variable "account_id" {
  description = "The id of the AWS account for this fleet. Terraform plans nothing for another account, and the bucket's name contains the id."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must have 12 digits."
  }
}

variable "owner" {
  description = "The owner of the fleet, for its tags: a person or team that can be contacted."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9 ._@+-]{3,128}$", var.owner))
    error_message = "owner must have 3 to 128 letters, digits, spaces and . _ @ + -."
  }
}

variable "project" {
  description = "Value of the tag loadgen:project."
  type        = string
  default     = "loadgen"
}

variable "cost_center" {
  description = "Value of the tag loadgen:cost-center; null for no tag."
  type        = string
  default     = null
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for both roles; null for none."
  type        = string
  default     = null
}

variable "regions" {
  description = <<-EOT
    Where agents may be, by region. An entry more is a region more; an entry less destroys that region and nothing else.
    cidr: of its network, which overlaps no other. max_agents: the group grows no further.
    instance_types: of x86_64, the first is preferred; several make spot interruptions rarer.
    on_demand_base, on_demand_percent: how many agents are not spot, and which share of those beyond.
    egress_ips: "none" (private targets only), "nat" (one address, a price for each GB), "eip" (one fixed address an agent).
    vpc_id, subnet_ids: a network of your own instead of a new one; routes to the controller are then yours to make.
    endpoints: of AWS, in the region; agents reach nothing else of it but S3. ssm, sts and ec2 are needed; autoscaling lets a leaving agent go at once; ssmmessages lets people in by Session Manager.
    ami_id: pins the image. replace_lost: a lost agent is replaced at once; then a time to live that is over begins anew, too.
  EOT
  type = map(object({
    cidr                = string
    max_agents          = number
    instance_types      = optional(list(string), ["c7i.xlarge", "c6in.xlarge", "c6i.xlarge"])
    on_demand_base      = optional(number, 0)
    on_demand_percent   = optional(number, 0)
    egress_ips          = optional(string, "none")
    vpc_id              = optional(string)
    subnet_ids          = optional(list(string), [])
    endpoints           = optional(list(string), ["ssm", "sts", "ec2", "autoscaling"])
    ami_id              = optional(string)
    capacity_rebalance  = optional(bool, false)
    replace_lost        = optional(bool, false)
    detailed_monitoring = optional(bool, false)
  }))

  validation {
    condition     = length(var.regions) > 0
    error_message = "regions must have at least one region."
  }

  validation {
    condition     = alltrue([for name in keys(var.regions) : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", name))])
    error_message = "The keys of regions must be region names, such as eu-west-1."
  }

  validation {
    condition     = alltrue([for one in values(var.regions) : can(cidrnetmask(one.cidr)) && try(tonumber(split("/", one.cidr)[1]) >= 16 && tonumber(split("/", one.cidr)[1]) <= 24, false)])
    error_message = "Each region's cidr must be an IPv4 network of /16 to /24."
  }

  validation {
    condition     = length(distinct(concat([var.controller.cidr], [for one in values(var.regions) : one.cidr]))) == length(var.regions) + 1
    error_message = "Two networks have the same cidr. Give each its own, because they are peered with the controller's network."
  }

  # Cut to the wider of the two, overlapping ones are the same.
  validation {
    condition = alltrue([
      for pair in setproduct(concat([var.controller.cidr], [for one in values(var.regions) : one.cidr]), concat([var.controller.cidr], [for one in values(var.regions) : one.cidr])) :
      pair[0] == pair[1] || try(
        cidrhost("${split("/", pair[0])[0]}/${min(split("/", pair[0])[1], split("/", pair[1])[1])}", 0) !=
        cidrhost("${split("/", pair[1])[0]}/${min(split("/", pair[0])[1], split("/", pair[1])[1])}", 0),
        true,
      )
    ])
    error_message = "Two networks overlap. Give each its own addresses, because they are peered with the controller's network."
  }

  validation {
    condition     = alltrue([for one in values(var.regions) : one.max_agents >= 1 && floor(one.max_agents) == one.max_agents])
    error_message = "max_agents must be a whole number of at least 1."
  }

  validation {
    condition     = sum([for one in values(var.regions) : one.max_agents]) <= var.max_agents
    error_message = "The regions' max_agents add up to more than the fleet's max_agents. Raise the fleet's or lower the regions'."
  }

  validation {
    condition     = alltrue(flatten([for one in values(var.regions) : [for type in one.instance_types : !can(regex("^t[0-9]", type))]]))
    error_message = "Do not use types of the t family: they throttle when their credits end, which falsifies measurements. Use c7i or c6in."
  }

  validation {
    condition     = alltrue(flatten([for one in values(var.regions) : [for type in one.instance_types : !can(regex("^[a-z]+[0-9]+[a-z]*g[a-z]*[.]", type))]]))
    error_message = "The image is for x86_64. Do not use Graviton types."
  }

  validation {
    condition     = alltrue([for one in values(var.regions) : length(one.instance_types) > 0])
    error_message = "instance_types must have at least one type."
  }

  validation {
    condition     = alltrue([for one in values(var.regions) : contains(["none", "nat", "eip"], one.egress_ips)])
    error_message = "egress_ips must be none, nat or eip."
  }

  validation {
    condition     = alltrue([for one in values(var.regions) : (one.vpc_id == null) == (length(one.subnet_ids) == 0)])
    error_message = "Set both vpc_id and subnet_ids, or neither."
  }

  validation {
    condition     = alltrue([for one in values(var.regions) : one.vpc_id == null || length(one.subnet_ids) >= 2])
    error_message = "subnet_ids must cover at least two availability zones."
  }
}

variable "target_cidrs" {
  description = "The only networks to which agents may send load. There is no default: name the targets that you may load."
  type        = list(string)

  validation {
    condition     = length(var.target_cidrs) > 0 && alltrue([for cidr in var.target_cidrs : can(cidrnetmask(cidr))])
    error_message = "target_cidrs must be IPv4 networks, at least one, such as 203.0.113.0/24."
  }

  validation {
    condition     = var.i_own_the_target || alltrue([for cidr in var.target_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, false)])
    error_message = "A target wider than a /8, such as 0.0.0.0/0, needs i_own_the_target = true, because this fleet can then load any host."
  }
}

variable "i_own_the_target" {
  description = "The owner's statement that everything in target_cidrs may be loaded, even 0.0.0.0/0."
  type        = bool
  default     = false
}

variable "allow" {
  description = "The controller's allow-list (docs/guard.md): targets, limits, expiry dates and owners. Give it as file(\"allow.toml\")."
  type        = string

  validation {
    condition     = strcontains(var.allow, "[[allow]]")
    error_message = "allow must be the text of an allow.toml with at least one [[allow]]. Without one, no target may be loaded."
  }
}

variable "target_ports" {
  description = "TCP ports of the targets."
  type        = list(number)
  default     = [80, 443]

  validation {
    condition     = length(var.target_ports) > 0 && alltrue([for port in var.target_ports : port >= 1 && port <= 65535])
    error_message = "target_ports must be numbers from 1 to 65535."
  }
}

variable "control" {
  description = "How agents reach the controller: \"peering\" (private, the default) or \"public\" (its fixed address; then only CURVE and the list of the agents' addresses protect it)."
  type        = string
  default     = "peering"

  validation {
    condition     = contains(["peering", "public"], var.control)
    error_message = "control must be peering or public."
  }

  validation {
    condition     = var.control == "peering" || alltrue([for one in values(var.regions) : one.egress_ips != "none" && one.vpc_id == null])
    error_message = "control = \"public\" allows only the agents' fixed addresses: each region needs egress_ips nat or eip, without vpc_id."
  }
}

variable "controller" {
  description = <<-EOT
    The controller: its region, network, type, disk, whether it runs, and how long at a time.
    state: "stopped" keeps the disk and costs no machine. ttl_s: after as long it stops itself; the disk stays.
    options: more of what `loadgen controller` is started with.
  EOT
  type = object({
    region        = string
    cidr          = optional(string, "10.0.0.0/24")
    instance_type = optional(string, "c7i.large")
    disk_gb       = optional(number, 50)
    state         = optional(string, "running")
    ttl_s         = optional(number, 86400)
    ami_id        = optional(string)
    options       = optional(list(string), [])
  })

  validation {
    condition     = can(cidrnetmask(var.controller.cidr)) && try(tonumber(split("/", var.controller.cidr)[1]) <= 26, false)
    error_message = "The controller's cidr must be an IPv4 network of /26 or wider."
  }

  validation {
    condition     = contains(["running", "stopped"], var.controller.state)
    error_message = "The controller's state must be running or stopped."
  }

  validation {
    condition     = var.controller.ttl_s >= 900 && var.controller.ttl_s <= 604800
    error_message = "The controller's ttl_s must be 900 (15 min) to 604800 (7 d)."
  }

  validation {
    condition     = alltrue([for option in var.controller.options : can(regex("^[A-Za-z0-9._:/=@-]+$", option))])
    error_message = "Options of the controller must not contain spaces, quotes or other shell characters."
  }
}

variable "controller_public_key" {
  description = "controller.pub of `loadgen keys init`: 40 characters. It is public. Never give the secret key to Terraform."
  type        = string

  validation {
    condition     = length(var.controller_public_key) == 40
    error_message = "A CURVE key has 40 characters (Z85)."
  }
}

variable "client_cidrs" {
  description = "Networks that may connect to the controller's API; empty: only through Session Manager."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr)) && try(tonumber(split("/", cidr)[1]) >= 16, false)])
    error_message = "client_cidrs must be IPv4 networks of /16 or narrower, because a token of the role run controls the fleet."
  }
}

variable "wheelhouse" {
  description = "The packages that machines install: the sha256 that tools/wheelhouse.py printed."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.wheelhouse))
    error_message = "wheelhouse must be a sha256: 64 characters 0-9 and a-f."
  }
}

variable "max_agents" {
  description = "The largest number of agents over all regions."
  type        = number
  default     = 50

  validation {
    condition     = var.max_agents >= 1 && var.max_agents <= 5000
    error_message = "max_agents must be 1 to 5000, the most that a controller can handle."
  }
}

variable "max_hourly_usd" {
  description = "The largest on-demand price of all agents per hour, by prices.json. A more expensive plan is rejected."
  type        = number
  default     = 20

  # Here and not at regions: a variable's own validation may not use what is made of that variable.
  validation {
    condition     = length(local.unpriced) == 0
    error_message = "The price is unknown for ${join(", ", local.unpriced)}, so max_hourly_usd cannot be checked. Add it to the variable prices."
  }

  validation {
    condition     = local.hourly_usd <= var.max_hourly_usd
    error_message = "All agents on demand would cost ${local.hourly_usd} USD an hour, which is more than max_hourly_usd. Use fewer or smaller agents, or raise max_hourly_usd."
  }
}

variable "prices" {
  description = "USD per hour by region and type; these override prices.json."
  type        = map(map(number))
  default     = {}
}

variable "ttl_s" {
  description = "The time in seconds after which an agent always ends itself; 4 h by default, at most 24 h."
  type        = number
  default     = 14400

  validation {
    condition     = var.ttl_s >= 900 && var.ttl_s <= 86400
    error_message = "ttl_s must be 900 (15 min) to 86400 (24 h)."
  }
}

variable "keep_failed" {
  description = "Whether an agent whose start failed stays until its ttl_s, for inspection. Otherwise it ends itself at once."
  type        = bool
  default     = false
}

variable "min_share" {
  description = "The share of its agents with which a run may start; 1.0 waits for all."
  type        = number
  default     = 1.0

  validation {
    condition     = var.min_share > 0 && var.min_share <= 1
    error_message = "min_share must be above 0 and at most 1."
  }
}

variable "expires_at" {
  description = "The time at which all groups go to 0, UTC, such as 2027-01-31T18:00:00Z. With null, only daily_stop and ttl_s end agents."
  type        = string
  default     = null

  validation {
    condition     = var.expires_at == null || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", var.expires_at))
    error_message = "expires_at must be UTC, such as 2027-01-31T18:00:00Z."
  }
}

variable "daily_stop" {
  description = "The daily time at which all groups go to 0, as cron in UTC. With null, set expires_at."
  type        = string
  default     = "0 3 * * *"

  validation {
    condition     = var.daily_stop != null || var.expires_at != null
    error_message = "Set daily_stop or expires_at, so that a forgotten fleet ends."
  }
}

variable "budget" {
  description = "A monthly budget in USD, with the addresses that get a message at 50, 80 and 100 % of it; null for none."
  type = object({
    monthly_usd = number
    emails      = list(string)
  })
  default = null

  validation {
    condition     = var.budget == null || try(var.budget.monthly_usd > 0 && length(var.budget.emails) > 0, false)
    error_message = "budget must have an amount above 0 and at least one address."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` may delete the bucket with all results in it."
  type        = bool
  default     = false
}
