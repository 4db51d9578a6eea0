node { id = "host-1" }
cluster {
  id = "prod"
  servers = ["10.0.0.7:4100", "a@10.0.0.1:1", "a@10.0.0.2:1"]
}
