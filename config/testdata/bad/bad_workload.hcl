cluster { id = "prod-1" }
node { id = "h1" }
driver "region" {}
workload "w1" {
  driver    = "regoin"
  size      = "much"
  port      = 80
  tolerance = 7
}
workload "w2" {
  driver       = "region"
  size         = "1MiB"
  port         = 80
  history_file = "a.csv"
}
