# How fast the simulator is: 1,000 hosts × 10,000 workloads × 24 h, a pass every
# five minutes. The hosts are so small that noise alone makes some of them
# contended at any time. Workloads are forecast every 15 minutes.
variable "decider" {
  description = "reactive, placed, ahead …"
  default     = "placed"
}

variable "length" {
  description = "of the time in which decisions are made, after a day of history"
  default     = "24h"
}

hosts "host" {
  count  = 1000
  cpu    = 11
  memory = "128GiB"
}

workloads "day" {
  count  = 5000
  cpu    = 2
  memory = "8GiB"
  wave {
    mean      = 50
    amplitude = 25
    noise     = 8
  }
}

workloads "night" {
  count  = 5000
  cpu    = 2
  memory = "8GiB"
  wave {
    mean      = 50
    amplitude = 25
    shift     = "12h"
    noise     = 8
  }
}

window {
  start  = "24h"
  length = var.length
}

policy {
  automation      = "auto"
  moves_per_pass  = 50
  moves_in_flight = 200
  churn_per_hour  = 1000
}

decider "measured" {
  kind           = var.decider
  forecast_every = "15m"
}
