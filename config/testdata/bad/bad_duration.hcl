cluster { id = "prod" }
node { id = "host-1" }
intervals { pass = "30 seconds" }
