cluster { }
node { zone = "" }
