cluster { id = "prod" }
node { id = "host-1" }
server { enabled = "perhaps" }
