cluster { id = "prod" }
node {
  id   = "host-1"
  zone = "rack-1"
}
driver "region" { command = ["one"] }
driver "process" {}
