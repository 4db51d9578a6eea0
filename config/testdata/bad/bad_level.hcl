cluster { id = "prod" }
node {
  id = "host-1"
  log_level = "verbose"
}
