node { id = "host-1" }
cluster {
  id = "prod"
  join = ["10.0.0.7"]
}
