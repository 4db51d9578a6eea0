cluster { id = "prod" }
node { id = "host-1" }
api { bind = "0.0.0.0:4102" }
