cluster { id = "prod" }
node { id = "host-1" }
rpc { bind = upper("x") }
