cluster { id = "prod" }
node { id = "host-1" }
capacity {
  cpu    = 4
  memory = "1GiB"
}
reserve {
  cpu    = 8
  memory = "2GiB"
}
