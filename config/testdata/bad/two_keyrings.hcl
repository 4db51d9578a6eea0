cluster { id = "prod" }
node { id = "host-1" }
gossip {
  keyring  = ["MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="]
  key_file = "/etc/placed.d/gossip.key"
}
