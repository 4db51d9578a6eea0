# World C: does forecasting prevent contention, at the same number of moves?
# Recorded loads on hosts that are just large enough; no consolidation. Every
# decider gets the same budget of moves.
variable "pool" {
  description = "azure or bitbrains"
  default     = "azure"
}

variable "data" {
  description = "where the recorded loads are"
  default     = "../shared/data"
}

variable "skip" {
  description = "what is left out at the end of the loads; 168h makes the week before the last the evaluated one"
  default     = "0s"
}

variable "budgets" {
  default = [0.25, 0.05]
}

# Chosen on the week before the evaluated one (skip = "168h").
variable "min_gain" {
  description = "contended workload-minutes that a move must save"
  default     = 0.5
}

variable "source_risk" {
  description = "chance of contention within the hour below which a host waits"
  default     = 0.55
}

variable "target_risk" {
  description = "chance of using more than keep_free leaves at which a destination is refused"
  default     = 0.35
}

variable "keep_free" {
  description = "share of a destination that should stay free"
  default     = 0.1
}

variable "oracle_gain" {
  description = "min_gain of the oracle that uses our planner"
  default     = 0
}

seeds = [11, 12, 13, 14, 15]

traces "azure" {
  files  = ["${var.data}/azure-v1/random100_avg.csv.gz", "${var.data}/azure-v1/periodic78_avg.csv.gz"]
  layout = "columns"
  bridge = 24
}

traces "bitbrains" {
  files       = ["${var.data}/bitbrains/cpu_pct_x10.csv.gz"]
  layout      = "rows"
  scale       = 0.1
  min_mean    = 1
  max_missing = 0.1
  bridge      = 24
}

pool {
  traces          = var.pool
  cores           = [1, 2, 4, 8]
  probability     = [0.3, 0.3, 0.25, 0.15]
  memory_per_core = "4GiB"
  per_host        = 12
  quantile        = 0.985
  fill            = 0.75
  memory_room     = 1.4
}

window {
  length = "168h"
  skip   = var.skip
}

migration {
  bandwidth   = "1.1GB"
  rounds      = 1.3
  degradation = 0.1
}

budget {
  moves_per_workload_day = var.budgets
  burst_days             = 0.25
}

# The quantile is what calls a host contended: at 0.8, when contention has a
# chance of one in five at some moment of the hour; source_risk is stricter. The
# budget above bounds the moves.
policy {
  automation      = "auto"
  quantile        = 0.8
  horizon         = "1h"
  hold_passes     = 1
  cooldown        = "0s"
  moves_per_pass  = 20
  moves_in_flight = 100
  churn_per_hour  = 10000
}

decider "nothing" {
  kind = "nothing"
}

decider "reactive" {
  kind = "reactive"
}

decider "persistence" {
  kind = "persistence"
  z    = 1
}

decider "relieve" {
  kind = "placed"
}

decider "ours" {
  kind        = "ahead"
  min_gain    = var.min_gain
  source_risk = var.source_risk
  target_risk = var.target_risk
  keep_free   = var.keep_free
}

decider "oracle" {
  kind = "oracle"
}

# The same planner, told what will be recorded in the next hour.
decider "oracle-ours" {
  kind        = "oracle-ahead"
  min_gain    = var.oracle_gain
  source_risk = 0.5
  target_risk = 0.5
}
