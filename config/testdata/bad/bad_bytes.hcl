cluster { id = "prod" }
node { id = "host-1" }
capacity { memory = "16 gigs" }
