cluster { id = "prod" }
node { id = "host-1" }
gossip { keyring = ["c2hvcnQ=", "not base64!"] }
