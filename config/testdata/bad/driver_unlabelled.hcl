cluster { id = "prod" }
node { id = "host-1" }
driver { }
