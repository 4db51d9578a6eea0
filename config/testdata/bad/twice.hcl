cluster { id = "prod" }
node { id = "host-1" }
node { zone = "a" }
