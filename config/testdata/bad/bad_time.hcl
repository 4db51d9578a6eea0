cluster { id = "prod" }
node { id = "host-1" }
load_clock { load = "yesterday" }
