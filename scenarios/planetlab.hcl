# The published PlanetLab worlds, day by day: CloudSim's own ("a"), and the one
# with enforced memory and immortal machines ("b32"), which tells predictors
# apart. docs/simulation.md has the tables.
variable "world" {
  description = "a or b32"
  default     = "a"
}

variable "trace" {
  description = "one line per machine: its name, then 288 percentages; gzipped or not"
}

variable "detector" {
  description = "lr:1.2, thr:0.8, iqr:1.5, mad:2.5, mean-sd:2, persistence:1.0, oracle:1, dvfs, npa or placed"
  default     = "lr:1.2"
}

variable "planner" {
  description = "reference, or placed (world b32 with detector placed)"
  default     = "reference"
}

reference {
  world    = var.world
  trace    = var.trace
  detector = var.detector
  planner  = var.planner
}
