cluster { id = "prod" }
node { id = "host-1" }
overcommit { memory = 0 }
