# What a fleet on loopback needs.
cluster {
  id      = "dev"
  join    = ["127.0.0.2:4101"]
  servers = ["host-1@127.0.0.1:4100", "host-2@127.0.0.2:4100", "host-3@127.0.0.3:4100"]
}
node {
  id        = "host-1"
  name      = "dev-1"
  log_level = "debug"
}
rpc { bind = "127.0.0.1:0" }
gossip { bind = "127.0.0.1:0" }
api { bind = "127.0.0.1:0" }
traffic {
  enabled = true
  address = "127.0.0.1"
}
capacity {
  cpu    = 0.75
  memory = "2GiB"
}
reserve {
  cpu    = 0
  memory = ""
}
load_clock {
  wall  = "2026-03-02T10:00:00.5Z"
  load  = "2026-03-22T00:00:00Z"
  scale = 300
}
driver "region" {
  command = ["/usr/bin/placed", "workload"]
}
intervals {
  sample = "1s"
  report = "1s"
  pass   = "1s"
}
policy { automation = "auto" }
