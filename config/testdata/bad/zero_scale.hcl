cluster { id = "prod" }
node { id = "host-1" }
load_clock { scale = 0 }
