cluster { id = "prod" }
node { id = "host-1" }
policy {
  quantile     = 90
  headroom     = 5
  hold_passes  = 0
}
