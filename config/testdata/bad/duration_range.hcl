cluster { id = "prod" }
node { id = "host-1" }
intervals { sample = "1h" }
