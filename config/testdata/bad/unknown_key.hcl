cluster { id = "prod" }
node { id = "host-1" }
rpc { bnd = "127.0.0.1:1" }
