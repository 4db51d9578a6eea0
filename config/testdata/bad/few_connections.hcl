cluster { id = "prod" }
node { id = "host-1" }
limits { connections = 1 }
