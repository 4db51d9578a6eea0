cluster { id = "prod" }
node { id = "host-1" }
policy { margin = "-1m" }
